"""Mathematics: what is the same answer and what is another one, law by law."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import pytest

from mopd.auditing.junk import junk_for
from mopd.core.types import Problem
from mopd.judging.verdicts import judge
from mopd.verifiers import demonstration
from mopd.verifiers.math_boxes import last_sentence_boxes, unboxed
from mopd.verifiers.math_notation import latex
from mopd.verifiers.math_numbers import based, clock, number

DATA = Path(os.environ.get("MOPD_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")
THEIR_TESTS = Path(os.environ.get("MOPD_MATH_VERIFY_TESTS") or "no such folder")


def kind_of(reference, answer):
    return judge(Problem("p", (), reference, "math"), f"So $\\boxed{{{answer}}}$.").kind


SAME = {
    "tiny numbers are equal if they are": [
        ("10^{-30}", "1e-30"),
        (r"1.6021\times10^{-19}", r"0.16021\times10^{-18}"),
        (r"\frac{1}{52!}", r"\frac{1}{52 \cdot 51!}"),
    ],
    "a decimal of six digits stands for what rounds to it": [
        (r"\frac13", "0.333333"),
        (r"\sqrt2", "1.41421"),
        ("1.41421", r"\sqrt2"),
        ("3.14159265", "3.14159"),
        (r"(\frac13, \sqrt2]", "(0.333333, 1.414214]"),
        (r"\begin{pmatrix}\frac12 \\ \frac14\end{pmatrix}", r"\begin{pmatrix}0.5 \\ 0.25\end{pmatrix}"),
        ("0.3", "0.30000000000000004"),
        ("3", "2.9999999999999996"),
    ],
    "upright letters are the same letters": [
        (r"\mathrm{e}^2", "e^2"),
        (r"\frac{1}{1-\mathrm{e}}", r"\frac{1}{1-e}"),
        ("2+3i", r"2+3\mathrm{i}"),
        (r"\mathrm{\pi}", r"\pi"),
        (r"\operatorname{e}^2", "e^2"),
        (r"{\rm e}^2", "e^2"),
        (r"\ln 2", r"\mathrm{ln} 2"),
        (r"\mathrm e^2", "e^2"),
        (r"\rm{e}^2", "e^2"),
        (r"4+2\mathrm i", "4+2i"),
        (r"5\mathrm{x}", "5x"),
        (r"\hat i+2\hat j", r"2\hat{j}+\hat{i}"),
        (r"\mathbf{i}+2\mathbf{j}", r"2\mathbf{j}+\mathbf{i}"),
    ],
    "thousands and decimals are one number however they are set": [
        (r"1\,234", "1234"),
        ("1234", "1~234"),
        ("1234567", "1{,}234{,}567"),
        (r"1\ 234", "1234"),
        ("1234.5", r"1\,234.5"),
        (r"x=1\,234", "1234"),
        ("3{,}14", "3.14"),
        (r"12,345\text{ km}", "12345"),
        ("1000.99", "1000,99"),
        ("100,200", "100200"),
        ("100,200", "200, 100"),
        ("-2 1/2", "-2.5"),
        ("1 000 000", "1000000"),
        ("12’345", "12345"),
        ("1.234,56", "1234.56"),
        ("1.234.567", "1234567"),
        ("2,5; 3,5", "3.5; 2.5"),
        ("(2,5; 3,5)", "(2.5, 3.5)"),
        (r"\approx 12\,345", "12345"),
    ],
    "words are the same in any case and with or without text": [
        (r"\text{yes}", "Yes"),
        ("Alice", r"\text{alice}"),
        ("no solution", r"\text{No solution}"),
        ("HHT, HTH", "HTH, HHT"),
        ("ABC", r"A \cdot B \cdot C"),
        ("xy", "yx"),
        ("2ab", "2ba"),
        ("parabola", r"\text{a parabola}"),
        ("the circle", "circle"),
    ],
    "a unit may be left out, or be another one for the same quantity": [
        (r"5\text{ km}", r"5000\text{ m}"),
        (r"5\text{ km}", "5 km"),
        ("5 m", "5"),
        ("5", "5 m"),
        (r"2\text{ h}", r"120\text{ min}"),
        (r"36\text{ km/h}", r"10\text{ m/s}"),
        (r"9.8\,\mathrm{m\,s^{-2}}", r"9.8\text{ m/s}^2"),
        (r"1\,\mathrm{kWh}", r"3.6\,\mathrm{MJ}"),
        (r"\$3", r"300\text{ cents}"),
        (r"90^\circ", r"\frac{\pi}{2}"),
        (r"90^\circ", "90"),
        (r"100^\circ\text{C}", r"212^\circ\text{F}"),
        (r"12\text{ students}", r"12\text{ people}"),
        (r"5\,\mathrm{k\Omega}", r"5000\,\Omega"),
        ("3 metric tons", "3000 kg"),
        ("90 degrees", r"\frac{\pi}{2}"),
        ("€25", "25"),
        ("60'", r"1^\circ"),
        (r"\boxed{5}\text{ cm}", "50 mm"),
        (r"5\text{ cats or dogs}", "5"),
    ],
    "a number to a base is the same with the base in words, in brackets, or left out": [
        ("52_8", "52_{8}"),
        ("(52)_8", "52_8"),
        ("52_8", "52"),
        (r"1011_{\text{two}}", "1011_2"),
        ("AF_{16}", "af_{16}"),
        ("42_{10}", "42"),
        (r"101\text{ base }2", "101_2"),
        (r"101\text{ (base }2)", "101_2"),
        ("1000 0000_2", "10000000_2"),
        ("-101_2", "-101_{2}"),
        ("10.1_2", "10.1_{2}"),
    ],
    "times are the same by the clock, ratios as ratios": [
        ("2:30", "02:30"),
        ("12:00", r"12:00\text{ p.m.}"),
        (r"3:15\text{ PM}", "15:15"),
        ("3:15", "3:15 pm"),
        ("3:4", "12:16"),
        ("7:65", "14:130"),
        ("S_1:S_2=7:32", "7:32"),
        ("noon", "12:00 PM"),
        ("12:00", "noon"),
        ("midnight", "12:00 am"),
        ("7:00", "7 o'clock"),
        ("3 PM", "3"),
        ("2.30 pm", "2:30 pm"),
        ("1:2:3", "2:4:6"),
        ("3:4:5", "12:16:20"),
        ("5 to 3", "10:6"),
        (r"1\colon 2", "1:2"),
    ],
    "i is the imaginary unit": [
        ("-1", "i^2"),
        ("2+3i", "3i+2"),
        ("1+i", r"\sqrt{2}e^{i\pi/4}"),
        (r"\frac12+\frac{\sqrt3}{2}i", r"e^{i\pi/3}"),
        ("z=1+i, z=1-i", r"1\pm i"),
        (r"\sqrt{-4}", "2i"),
        (r"\sum_{i=1}^{n} a_i", r"\sum_{i=1}^{n} a_i"),
        (r"\frac12+\frac{\sqrt3}{2}i", "0.5+0.866025i"),
        ("3.0+4.0i", "3+4i"),
        (r"\sum_{i=1}^n i", r"\frac{n(n+1)}{2}"),
    ],
    "a set is the same as an interval, an inequality and a union": [
        (r"[2,\infty)", r"x\ge2"),
        (r"[2,\infty)", r"2\le x"),
        ("(-2,2)", "|x|<2"),
        (r"(-\infty,1)\cup(3,\infty)", r"x<1 \text{ or } x>3"),
        ("(1,3)", r"x>1 \text{ and } x<3"),
        (r"[0,1)\cup[1,2]", "[0,2]"),
        (r"\mathbb{R}\setminus\{1\}", r"x\ne1"),
        (r"x\in(1,2)", "1<x<2"),
        ("]0,1[", "(0,1)"),
        (r"\{x : x > 2\}", r"(2, \infty)"),
        (r"\emptyset", r"\{\}"),
        ("2x<8", r"(-\infty,4)"),
        ("x<4", "4>x"),
        (r"(-\infty,1)", "-x>-1"),
        (r"[-3,\infty)", r"-3\le x<\infty"),
        ("all real numbers", r"(-\infty,\infty)"),
        (r"\mathbb{R}", r"\text{all real numbers}"),
        (r"(-\infty,0)\cup(0,\infty)", r"\mathbb{R}-\{0\}"),
        (r"\mathbb{R}\setminus\{1,2\}", r"(-\infty,1)\cup(1,2)\cup(2,\infty)"),
        (r"x\ne1,2", r"x\ne1, x\ne2"),
        (r"(0,1)\cup\{3\}", r"0<x<1\text{ or }x=3"),
        (r"\emptyset", r"\text{no solution}"),
        (r"x>2 \wedge x<3", "(2,3)"),
        (r"x<2 \cup x>3", r"(-\infty,2)\cup(3,\infty)"),
        (r"(2,\infty)\cap(-\infty,3)", "(2,3)"),
        ("x>0", r"\mathbb{R}^+"),
        (r"(-\infty,2)\cup(2,\infty)", r"x\in\mathbb{R}, x\ne2"),
    ],
    "named values are a pair in the order of their names": [
        ("x=1,y=2", "(1,2)"),
        ("(1,2)", "y=2,x=1"),
        ("(x,y)=(1,2)", "(y,x)=(2,1)"),
        ("x=1,y=2", "y=2,x=1"),
        ("x=1, x=2", "2,1"),
        ("x_1=1, x_2=2", "2,1"),
        ("(1,2,3)", "x=1,y=2,z=3"),
        ("5", "5 = x"),
        ("M=5, m=-3", "m=-3, M=5"),
        ("X=5, Y=3", "(5,3)"),
        ("1,2", "(2,1)"),
        ("x=2", "2=x"),
        ("x=1,y=2 or x=3,y=4", "(3,4),(1,2)"),
        ("P=(1,2)", "P(1,2)"),
        (r"x=1 \quad y=2", "(1,2)"),
        (r"x=1\text{, }y=2", "(1,2)"),
    ],
    "plain text and Unicode are read as a person reads them": [
        (r"2\pi", "2pi"),
        (r"\frac{\sqrt3}{2}", "sqrt(3)/2"),
        (r"90^\circ", "90°"),
        ("x^2", "x²"),
        (r"\frac52", "2½"),
        (r"\infty", "∞"),
        (r"x\le 3", "x≤3"),
        (r"\cos x", "cos x"),
        (r"\alpha", "α"),
        (r"2^{10}", "2**10"),
        ("e^{x+1}", "exp(x+1)"),
        (r"\sqrt{x+1}", "√(x+1)"),
        (r"3\times 10^8", "3e8"),
        ("-5", "−5"),
        (r"\arctan 2", "atan(2)"),
        (r"\log_2 5", "log2(5)"),
        (r"\frac\pi2", "π/2"),
        (r"\lfloor x\rfloor", "⌊x⌋"),
        (r"\lfloor x\rfloor", "floor(x)"),
        (r"\binom52", r"\binom{5}{2}"),
        (r"\frac{x}{2}", "1/2 x"),
        (r"x\ln x", "xlnx"),
        (r"2\sin x", "2sinx"),
        (r"\sec x", "sec x"),
    ],
    "expressions are equal that are wherever both exist": [
        (r"\ln\frac{a}{b}", r"\ln a-\ln b"),
        (r"\log_2\frac{x}{y}", r"\log_2 x-\log_2 y"),
        (r"2\ln x", r"\ln x^2"),
        (r"\sqrt{ab}", r"\sqrt a\sqrt b"),
        (r"\sqrt[3]{-8}", "-2"),
        ("10^{2}(x + 1)(5y - 15)", "10^{2}(5xy - 15x + 5y - 15)"),  # 0 at a sampled point
        ("0", r"(\sqrt2)^2 - 2"),
        ("3x+5y-7=0", r"y = -\frac{3}{5}x + \frac{7}{5}"),
        (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"),
    ],
    "repeating decimals are fractions": [
        (r"\frac13", r"0.\overline{3}"),
        (r"0.1\overline{6}", r"\frac16"),
        (r"\frac16", "0.1(6)"),
        (r"0.\dot{1}4285\dot{7}", r"\frac17"),
        (r"0.333\ldots", r"\frac13"),
        ("1", r"0.\overline{9}"),
        ("0.33...", r"\frac13"),
        ("0.16̅", r"\frac16"),
        (r"0,\overline{3}", r"\frac13"),
        ("0,(3)", r"\frac13"),
        (r"1.\overline{09}", r"1.0909\ldots"),
    ],
    "percents are hundredths, and a percent sign may be left out": [
        (r"50\%", "50"),
        (r"50\%", "0.5"),
        ("0.5", "50 percent"),
        ("0.05", "5 per cent"),
    ],
    "an equation is read by its last side if it is true or has a name": [
        ("7", "3+4=7"),
        ("11", "x = 5+6 = 11"),
        ("6", "3!=6"),
    ],
    "a way to write a number is a number": [
        ("1024", "2^{10}"),
        ("2", r"\frac{6}{3}"),
        ("120", "5!"),
        ("4", r"\sqrt{16}"),
        (r"3\times10^8", r"3\cdot10^8"),
        (r"\int_0^1 x dx", r"\frac12"),
        ("3/1024", r"\frac{3}{2^{10}}"),
        ("0.693147", r"\ln 2"),
        ("3.46410", r"2\cdot\sqrt3"),
        (r"\sqrt2+\sqrt8", r"\sqrt8+\sqrt2"),
    ],
    "words for large numbers are numbers": [
        ("5 million", "5000000"),
        (r"5\text{ million}", r"5\times10^6"),
        (r"3.2\text{ billion dollars}", r"\$3200000000"),
        (r"3\text{ hundred}", "300"),
    ],
    "a value in several units is their sum": [
        (r"4\text{ hours }30\text{ minutes}", r"270\text{ minutes}"),
        (r"5\text{ ft }6\text{ in}", r"5.5\text{ ft}"),
        (r"12^\circ 30'", r"12.5^\circ"),
        ("1 h 30 min", "90 min"),
    ],
    "the degrees of an angle are no unit of its sine": [
        (r"\sin 30^\circ", "0.5"),
        (r"\cos 60^\circ + i\sin 60^\circ", r"\frac{1+i\sqrt3}{2}"),
        (r"\log_4 2", "0.5"),
    ],
    "what stands below each other is a list of equations or a tuple": [
        (r"\begin{cases}x=1\\y=2\end{cases}", "(1,2)"),
        ("5", r"\begin{aligned}x&=2+3\\&=5\end{aligned}"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
        (r"2\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\4\end{pmatrix}"),
        (r"v=\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
    ],
    "the corners of a figure may be named from either end": [
        (r"\angle ABC", r"\angle CBA"),
        (r"\triangle ABC", r"\triangle CAB"),
        (r"\overline{AB}", r"\overline{BA}"),
    ],
    "a letter for every integer may have any name, begin anywhere, and be declared in any words or not": [
        (r"x=k\pi, k\in\mathbb{Z}", r"x=n\pi \text{ for } n\in\mathbb{Z}"),
        (r"k\pi, k\in\mathbb{Z}", r"k\pi"),
        (r"x=k\pi", r"x=k\pi, k\in\mathbb{Z}"),
        (r"x=\frac{\pi}{4}+k\pi \quad (k\in\mathbb Z)", r"x=\frac{\pi}{4}+n\pi, n \text{ is an integer}"),
        (r"x = n\pi \text{ for all integers } n", r"k\pi, k\in Z"),
        (r"\frac{k\pi}{2}\ (k=0,\pm1,\pm2,\ldots)", r"\frac{n\pi}{2}, n\in\mathbb{Z}"),
        (r"k\pi+\frac{\pi}{4}\ (k\in\mathbb{Z})", r"\frac{5\pi}{4}-k\pi, k\in\mathbb Z"),
        (r"(2k+1)\pi, k\in\mathbb{Z}", r"(2k-1)\pi, k\in\mathbb{Z}"),
        (r"2k\pi \pm \frac{\pi}{3}, k\in\mathbb{Z}", r"\pm\frac{\pi}{3}+2n\pi, n \in \mathbb{Z}"),
        (r"30^\circ+k\cdot 360^\circ, k\in\mathbb{Z}", r"390^\circ+360^\circ n, n\in\mathbb{Z}"),
        (r"30^\circ+k\cdot 360^\circ, k\in\mathbb{Z}", r"\frac{\pi}{6}+2\pi n, n\in\mathbb{Z}"),
        (
            r"\left(k\pi-\frac{\pi}{6},k\pi+\frac{\pi}{3}\right)(k\in\mathbb{Z})",
            r"\left(\frac{5\pi}{6}+n\pi,\frac{4\pi}{3}+n\pi\right), n\in\mathbb{Z}",
        ),
        (r"\{x \mid x = 2k, k\in\mathbb{Z}\}", r"\{2n \mid n\in\mathbb{Z}\}"),
        (r"a_n=2^{n-1}, n\in\mathbb{N}^*", r"a_n=2^{n-1}"),
        (r"f(x)=cx, c\in\mathbb{R}", r"f(x)=kx \text{ for } k\in\mathbb{R}"),
        (r"f(x)=2x \text{ for all } x", "f(x)=2x"),
    ],
    "residues to one modulus are the same": [
        (r"n\equiv 1\pmod 3", r"n\equiv 4\pmod{3}"),
        (r"n\equiv 1\pmod 3", "n ≡ 1 (mod 3)"),
        (r"x\equiv 1,2\pmod 4", r"x\equiv 2\pmod 4 \text{ or } x\equiv 1\pmod 4"),
        (r"x\equiv \pm 1 \pmod 5", r"x\equiv 1,4\pmod 5"),
        (r"1 \pmod{7}", "1"),
    ],
    "the key of an option and its value are either the answer": [
        (r"\textbf{(C)}\ 12", "C"),
        (r"\textbf{(C)}\ 12", "12"),
        (r"\text{(C) 12}", "(C)"),
        ("(C) 12", "C"),
        ("C", r"\textbf{(C)}\ 12"),
        (r"\textbf{(A)}\ (1,2)", "(1,2)"),
    ],
    "a vector is a tuple in any brackets": [
        (r"\langle 1,-2,3\rangle", r"\begin{pmatrix}1\\-2\\3\end{pmatrix}"),
        (r"\vec v=\left<3,4\right>", "(3,4)"),
        ("<1,2>", "(1,2)"),
        (r"\hat{i}+2\hat{j}", r"\mathbf{i}+2\mathbf{j}"),
        ("[[1,2],[3,4]]", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ],
    "a number in a text, and an ordinal, are numbers": [
        (r"\text{12 inches}", "1 ft"),
        (r"\text{3 or 4}", "3, 4"),
        (r"10^{\text{th}}", "10"),
        ("21st", "21"),
        ("3.00 x 10^8", "3e8"),
    ],
    "texts that are typed alike are the same, read or not": [
        (r"\mathrm{H_2O}", "H2O"),
        (r"\ce{H2SO4}", "H_2SO_4"),
        (r"\mathrm{SO_4^{2-}}", "SO4^{2-}"),
        (r"\text{June }5", "June 5"),
    ],
    "an unsolved inequality is the set of its solutions": [
        ("|x-1|<2", "-1<x<3"),
        ("x^2<4", "(-2,2)"),
        (r"x\ne \pm 1", r"\mathbb{R}\setminus\{-1,1\}"),
        (r"x \in (-\infty, 2] \cup [3, \infty)", r"x\le 2 \text{ or } x\ge 3"),
        (r"[0,\infty)", r"\mathbb{R}_{\ge 0}"),
    ],
    "an equation is the same whichever side it is solved for": [
        ("y=2x", r"x=\frac{y}{2}"),
        ("y^2=4x", r"x=\frac{y^2}{4}"),
    ],
}

OTHER = {
    "tiny numbers differ if they do": [
        ("10^{-30}", "2e-30"),
        (r"\{10^{-20}\}", r"\{10^{-21}\}"),
        ("(10^{-20},1)", "(10^{-21},1)"),
        ("[10^{-20},1]", r"[2\cdot10^{-20},1]"),
        (r"\begin{pmatrix}10^{-20}\end{pmatrix}", r"\begin{pmatrix}10^{-21}\end{pmatrix}"),
        ("x=10^{-20}", "x=10^{-21}"),
        ("10^{-20}x", "10^{-21}x"),
        ("x>10^{-20}", "x>10^{-21}"),
        (r"\sqrt{10^{-40}+10^{-60}}", "10^{-20}"),
        (r"10^{-20}\text{ m}", r"10^{-21}\text{ m}"),
    ],
    "large numbers differ if they do": [
        ("10^{40}", "10^{40}+1"),
        (r"\sqrt{10^{80}+1}", "10^{40}"),
        (r"\sqrt{2}", r"\sqrt{2}+10^{-90}"),
        ("10^{20}", "100000000000000000001"),
    ],
    "a decimal of fewer digits is no rounded number, and no decimal rounds a whole number": [
        (r"\frac13", "0.33333"),
        (r"\sqrt2", "1.41422"),
        ("3.14", "3.14159"),
        (r"9.109\times10^{-31}", r"9.11\times10^{-31}"),
        ("123456789", r"1.23457\times10^8"),
        ("1.2345678", "1.2345679"),
    ],
    "upright letters do not vanish": [
        (r"3-4\mathrm{i}", "3"),
        (r"2\text{e}", "2"),
        (r"5\mathrm{e}", r"5\mathrm{i}"),
        (r"5\mathrm{x}", "5"),
        (r"3\mathbf{i}", "3"),
        (r"3\mathbf{i}", r"3\mathbf{j}"),
    ],
    "digits with a gap are no sum, digits in brackets no number": [
        (r"1\,234", "235"),
        ("32349", "32, 349"),
        ("1234", "(1,234)"),
        ("1,234.50", "1, 234.5"),
    ],
    "the order of letters counts in words": [
        ("HHT", "THH"),
        ("HHT, HTH", "THH, HHT"),
        ("MCM", "CMM"),
        ("XII", "12"),
        (r"\text{yes}", "no"),
        (r"\angle ABC", r"\angle BAC"),
        (r"\overrightarrow{AB}", r"\overrightarrow{BA}"),
    ],
    "another unit is another answer": [
        (r"5\text{ m/s}", r"5\text{ m/s}^2"),
        (r"10\text{ cm}^2", r"10\text{ cm}"),
        (r"5\text{ cm}", r"5\text{ inches}"),
        (r"3\text{ dollars}", r"3\text{ cents}"),
        ("5 m", "5 s"),
        (r"100^\circ\text{C}", r"100^\circ\text{F}"),
        (r"x\text{ cm}", r"x\text{ m}"),
        (r"3\text{ cm}, 4\text{ cm}", r"3\text{ m}, 4\text{ m}"),
        (r"5\,\Omega", r"5\,\mathrm{V}"),
        ("5 million", "5"),
        ("5", r"5\text{ million}"),
        (r"5\,\mathrm{k\Omega}", r"5\,\Omega"),
        (r"45^\circ", "45'"),
        (r"\boxed{5}\text{ cm}", "5 m"),
        ("€25", r"\$25"),
        ("5", r"5\text{ or more}"),
    ],
    "another base is another answer": [
        ("52_8", "52_9"),
        ("1011_2", "11"),
        ("1011_2", "13_8"),
        ("11", "1011_2"),
        ("AF_{16}", "FA_{16}"),
        ("101_2, 11_2", "101_3, 11_3"),
        ("-101_2", "-101_3"),
        ("10.1_2", "10.1_3"),
        ("101_2", "-101_2"),
    ],
    "a time is no fraction": [
        ("2:30", "1:15"),
        ("2:30", r"\frac{1}{15}"),
        ("12:00", "5"),
        (r"3\text{ p.m.}", r"3\text{ a.m.}"),
        ("1:2:3", r"\frac16"),
        ("1:2:3", "3:2:1"),
        ("noon", "midnight"),
        ("noon", "12:00 am"),
    ],
    "i is no letter and no number": [
        ("2+3i", "2-3i"),
        ("5i", "5"),
        ("i", "-i"),
        (r"\frac12+\frac{\sqrt3}{2}i", "0.5+0.866i"),
        ("3.0+4.1i", "3+4i"),
    ],
    "sets that differ in an end differ": [
        (r"(-\infty,4)", r"x\le4"),
        (r"(0,1)\cup(1,2)", "(0,2)"),
        ("x<4", "y<4"),
        ("(1,2)", "[1,2]"),
        ("(0,1)", "x<1"),
        ("x<4, y>2", "y<4, x>2"),
        (r"(0,1)\cup\{3\}", r"0<x<1\text{ or }x=4"),
        (r"(2,\infty)\cap(-\infty,3)", r"(2,\infty)"),
    ],
    "named values are no pair in another order": [
        ("x=1,y=2", "(2,1)"),
        ("(1,2)", "x=2,y=1"),
        ("(2,1)", "x=1,y=2"),
        ("x=1,y=2", "2,1"),
        ("M=5, m=-3", "m=5, M=-3"),
        ("M=5, m=-3", "M=-3, m=5"),
        ("(1,2)", "2,1"),
    ],
    "expressions differ that do anywhere": [
        (r"\sqrt{x^2}", "x"),
        (r"\sqrt{a}+\sqrt{b}", r"\sqrt{a+b}"),
        ("R^2-r^2", "r^2-R^2"),
        ("R^2-r^2", "0"),
        ("f(x)", "f(y)"),
        ("(-1)^n", "1"),
    ],
    "a repeating decimal is not its digits": [(r"0.1\overline{6}", "0.16"), (r"0.\overline{3}", "0.3")],
    "a percent sign in excess is another number": [
        ("5", r"5\%"),
        ("50", r"50\%"),
        ("5", "5 per cent"),
    ],
    "a false equation and an unsolved one are no value": [("5", "4=5"), ("4", "x^2=4"), ("1", "2x+z=1")],
    "a calculation that is not carried out is no number": [
        (r"\frac12", r"\int_0^1 x dx"),
        ("7", "3+4"),
        ("12", r"3\cdot4"),
        ("8", "10-2"),
        ("0.5", "1-0.5"),
        (r"\frac56", r"\frac12+\frac13"),
        ("55", r"\sum_{n=1}^{10} n"),
        ("6", r"\gcd(12,18)"),
        ("1", r"\lim_{x\to0}\frac{\sin x}{x}"),
        (r"\ln 2", r"\int_1^2\frac{1}{x}dx"),
        ("2x", r"\frac{d}{dx}x^2"),
        (r"(-\infty,4)", "2x<8"),
        ("120", r"(2)(3)(4)(5)"),
        ("5", "|3+4i|"),
        ("7", r"7\cdot1"),
        ("60", r"\frac{5!}{2!}"),
        ("24", r"4\cdot3!"),
        ("30000", r"3\cdot10^2\cdot10^2"),
        ("3", r"\lfloor 3.7\rfloor"),
        ("-2", r"\begin{vmatrix}1&2\\3&4\end{vmatrix}"),
        ("3", r"\log_2 8"),
        ("1", r"\sin^2 1+\cos^2 1"),
        ("3", r"e^{\ln 3}"),
        ("5", "5+x-x"),
        ("1", r"\frac{x}{x}"),
        ("4", r"\sqrt4\cdot\sqrt4"),
        ("0.5", r"\cos\frac{\pi}{3}"),
    ],
    "terms that make one are still to be added": [
        (r"7\pi", r"3\pi+4\pi"),
        ("7i", "3i+4i"),
        ("3+4i", "1+2i+2+2i"),
        (r"3\sqrt2", r"\sqrt2+\sqrt8"),
        (r"\pi", r"\frac{\pi}{2}+\frac{\pi}{2}"),
    ],
    "an equation or inequality that is still to be solved is no solution": [
        ("x=2", "2x=4"),
        ("x=2", "x-2=0"),
        ("x<4", "2x<8"),
        ("k<3", "k-3<0"),
        (r"(-\infty,2)", r"\ln x<2"),
        (r"[0,2) \cup \{5\}", r"2x<4 \cup \{5\}"),
        (r"[0,2) \cup \{5\}", r"6A<B \cup \{5\}"),
        (r"[0,2) \cup (3,4)", r"[0,2) \cup x+y<2"),
    ],
    "what stands below each other keeps its order": [
        (r"\begin{cases}x=1\\y=2\end{cases}", "(2,1)"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "(2,1)"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
    ],
    "values for every integer differ in their step, their start and in what the letter may be": [
        (r"k\pi, k\in\mathbb{Z}", r"2k\pi, k\in\mathbb{Z}"),
        (r"k\pi+\frac{\pi}{4}, k\in\mathbb{Z}", r"k\pi-\frac{\pi}{4}, k\in\mathbb{Z}"),
        (r"k\pi+\frac{\pi}{4}, k\in\mathbb{N}", r"k\pi+\frac{5\pi}{4}, k\in\mathbb{N}"),
        (r"k\pi, k\in\mathbb{Z}", r"k\pi, k\in\mathbb{N}"),
        (r"2k\pi \pm \frac{\pi}{3}, k\in\mathbb{Z}", r"\pm\frac{\pi}{6}+2n\pi, n \in \mathbb{Z}"),
        (r"x>3, x\in\mathbb{Z}", "x>3"),
        (r"x\in\mathbb{Z}", r"x\in\mathbb{R}"),
        (r"a_n=2^{n-1}, n\in\mathbb{N}^*", r"a_n=2^{n}"),
    ],
    "residues differ, and moduli do": [
        (r"n\equiv 1\pmod 3", r"n\equiv 2\pmod 3"),
        (r"n\equiv 1\pmod 3", r"n\equiv 1\pmod 5"),
        (r"x\equiv 1,2\pmod 4", r"x\equiv 1\pmod 4"),
    ],
    "neither another option nor another value is the key": [
        (r"\textbf{(C)}\ 12", "D"),
        (r"\textbf{(C)}\ 12", "13"),
        ("C", "(D) 12"),
    ],
    "vectors, numbers in texts and formulas differ if they do": [
        (r"\langle 1,2\rangle", r"\langle 1,3\rangle"),
        (r"\text{12 inches}", "12 cm"),
        ("21st", "22"),
        ("CO_2", "Co2"),
        ("H2O", "H2O2"),
        ("a_{1}2", "a_{12}"),
        ("x^2<4", "x<2"),
        (r"x\ne \pm 2", r"x\ne 2"),
        ("y=2x", "x=2y"),
        ("[[1,2],[3,4]]", "[[1,2],[3,5]]"),
    ],
}


@pytest.mark.parametrize("law", SAME)
def test_it_is_the_same_answer_where(law):
    judged = {pair: kind_of(*pair) for pair in SAME[law]}
    assert judged == dict.fromkeys(SAME[law], "correct")


@pytest.mark.parametrize("law", OTHER)
def test_it_is_another_answer_where(law):
    judged = {pair: kind_of(*pair) for pair in OTHER[law]}
    assert judged == dict.fromkeys(OTHER[law], "wrong")


@pytest.mark.parametrize("reference", ["52_4", r"\frac{1}{0}", r"2 3", r"\boxed{5", r"x^2 + y < 3", "1_2 + 1_3"])
def test_a_reference_that_cannot_be_read_is_an_error_and_never_wrong(reference):
    assert kind_of(reference, "(-1,5)") == "error"


# --- boxes ----------------------------------------------------------------------------------------------------------


def test_a_reference_of_several_boxes_is_all_that_they_hold():
    assert unboxed(r"There are \boxed{1} red and \boxed{2} blue ones.") == "1, 2"
    assert unboxed(r"\boxed{840}, as I said: \boxed{840}") == "840"
    assert unboxed(r"\boxed{\frac{\boxed{1}}{2}}") == r"\frac{\boxed{1}}{2}"
    assert unboxed(r"so \boxed{20} percent") == r"20\%"
    assert unboxed(r"\boxed{1} and \boxed{2") is None
    assert demonstration(Problem("p", (), r"\boxed{1} and \boxed{2}", "math")) == r"\boxed{1, 2}"


@pytest.mark.parametrize(
    ("reference", "completion", "kind"),
    [
        ("1, 2", r"They are \boxed{2} and \boxed{1}.", "correct"),
        (r"\boxed{1} or \boxed{2}", r"It is \boxed{5}. No: \boxed{2} and \boxed{1}.", "correct"),
        ("x = 1, y = 2", r"$\boxed{x = 1}$, $\boxed{y = 2}$", "correct"),
        ("1, 2", r"One is \boxed{1}. The other one is \boxed{2}.", "wrong"),
        ("1, 2", r"\boxed{1}, \boxed{3}", "wrong"),
        ("1, 2", r"\boxed{1}, \boxed{2}, \boxed{3}", "wrong"),
        ("2", r"\boxed{1} or \boxed{2}", "correct"),
        ("(1, 2)", r"\boxed{1} and \boxed{2}", "wrong"),
        ("7", r"\boxed{7}, hmm, no: \boxed{8", "unparsable"),
    ],
)
def test_several_boxes_of_the_last_sentence_are_the_answer_where_the_reference_is_a_list(reference, completion, kind):
    assert judge(Problem("p", (), reference, "math"), completion).kind == kind


def test_sentences_end_at_a_full_stop_with_a_gap_or_an_empty_line():
    assert last_sentence_boxes(r"\boxed{1}. \boxed{2} and \boxed{3}") == ["2", "3"]
    assert last_sentence_boxes("\\boxed{1}\n\n\\boxed{2}, \\boxed{2}") == ["2"]
    assert last_sentence_boxes(r"\boxed{1}, that is 0.5 or \boxed{2}") == ["1", "2"]
    assert last_sentence_boxes("no box") == []


# --- notation and numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("pi/3", r"\pi /3"),
        ("√(x+1)", r"\sqrt{x+1}"),
        (r"11,\!111,\!100", "11111100"),
        (r"0.1\overline{6}", r"\frac{1}{6}"),
        ("-1 2/3", r"-\frac{5}{3}"),
        (r"2\frac32", r"2\frac{3}{2}"),
        (r"3\text{ min}", r"3\text{ min}"),
        ("2^(1/2)", "2^{1/2}"),
        ("1 2 3 4", "1 2 3 4"),
    ],
)
def test_what_means_one_thing_is_written_in_one_way(text, same):
    assert latex(text) == same


def test_numbers_know_the_worth_of_their_last_digit():
    assert (number("1.60").digits, number("1.60").last_place) == (3, number("0.01").value)
    assert number(r"1.6 \times 10^{-19}").last_place == number("0.1").value / 10**19
    assert number("12").last_place == 0
    assert number(r"-\frac{3}{4}").value == -number("0.75").value
    assert [number(text) for text in ("", ".", "x", "1/0", "1 2", "9" * 5000)] == [None] * 6


def test_bases_and_times_are_read_only_where_they_are_some():
    assert based("1011 base 2") == based("1011_2")
    assert [based(text) for text in ("52_4", "x_2", "5", "2_1")] == [None] * 4
    assert clock("12 noon") == clock("12:00 p.m.")
    assert [clock(text) for text in ("25:00", "7:65", "7:3", "0:15 pm", "12")] == [None] * 5


# --- data of others -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (DATA / "verdicts.jsonl").is_file(), reason="the development data is not beside the repository")
def test_records_of_public_reports_are_judged_as_a_careful_user_expects():
    records = [json.loads(line) for line in (DATA / "verdicts.jsonl").read_text().splitlines()]
    chosen = [record for record in records if record["kind"] == "math" and record["fault"] != "think"]
    assert len(chosen) > 70
    wrongly = [
        record["idx"]
        for record in chosen
        if (judge(Problem("p", (), record["answer"], "math"), record["completion"]).kind == "correct")
        != record["is_success"]
    ]
    assert wrongly == []


FORMULA = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\$([^$]+?)\$|\\\((.+?)\\\)", re.DOTALL)


def boxed(prediction):
    """A prediction in our format: as it is with a box; else its last formula or a short text; None for prose."""
    if "\\boxed" in prediction:
        return prediction
    formulas = list(FORMULA.finditer(prediction))
    if formulas and len(prediction) - formulas[-1].end() < 3:
        return f"\\boxed{{{next(filter(None, formulas[-1].groups()))}}}"
    is_prose = re.search(r"[a-z']{2,} [a-z']{2,} ", prediction)
    return None if formulas or is_prose else f"\\boxed{{{prediction}}}"


def is_answer(reference):
    """Whether a reference is one in our format, as predictions have to be: no open box, and no prose without a box."""
    is_prose = re.search(r"[a-z']{3,} [a-z']{3,} [a-z']{3,}.*\$", reference) and "\\boxed" not in reference
    return unboxed(reference) is not None and not is_prose


def their_triples():
    """(reference, completion, is equal) of Math-Verify's own tests, from a file or a folder of them."""
    files = sorted(THEIR_TESTS.glob("test_*.py")) if THEIR_TESTS.is_dir() else [THEIR_TESTS]
    for file in files:
        for call in ast.walk(ast.parse(file.read_text())):
            is_table = isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "parametrize"
            names = ast.literal_eval(call.args[0]).replace(" ", "").split(",") if is_table else []
            if names[:2] == ["gold", "pred"] and len(names) == 3:
                for row in call.args[1].elts:
                    if all(isinstance(cell, ast.Constant) for cell in row.elts):
                        reference, prediction, is_equal = (cell.value for cell in row.elts)
                        completion = boxed(prediction)
                        if completion is not None and is_answer(reference):
                            yield reference, completion, bool(is_equal)


@pytest.mark.skipif(
    not THEIR_TESTS.exists(), reason="MOPD_MATH_VERIFY_TESTS names no file or folder of Math-Verify's tests"
)
def test_math_verifys_own_triples_are_judged_as_it_expects_but_for_a_few():
    triples = list(their_triples())
    wrongly = [
        triple
        for triple in triples
        if (judge(Problem("p", (), triple[0], "math"), triple[1]).kind == "correct") != triple[2]
    ]
    print(f"{len(triples) - len(wrongly)} of {len(triples)} as Math-Verify expects")
    assert len(wrongly) <= max(2, len(triples) // 25), wrongly


# --- junk -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "formula"),
    [
        (r"Compute $\int_0^1 x\,dx$, where $x$ is real.", r"\int_0^1 x\,dx"),
        (r"What is \(3+4\)?", "3+4"),
        ("What is 1/4 + 1/4?", "1/4 + 1/4"),
        ("How many apples are left?", None),
        (r"Compute $3+4=?$", "3+4"),
        (r"Evaluate $\int_0^1 x\,dx =$.", r"\int_0^1 x\,dx"),
        (r"Evaluate \int_0^1 x\,dx.", r"\int_0^1 x\,dx"),
        (r"What is \frac{1}{4}+\frac{1}{4}? Give a fraction.", r"\frac{1}{4}+\frac{1}{4}"),
    ],
)
def test_the_audit_boxes_the_longest_formula_of_the_prompt(prompt, formula):
    asked = Problem("p", ({"role": "user", "content": prompt},), "1/2", "math")
    (junk,) = [junk for junk in junk_for({"p": ()}) if junk.name == "the prompt's longest formula"]
    assert junk.completion(asked) == (None if formula is None else f"\\boxed{{{formula}}}")
    assert junk.rule == "rarely"
    if formula is not None:
        assert judge(asked, junk.completion(asked)).kind == "wrong"
