"""The functions of the starter `code`: what is asked, a solution, and the calls that test it, the first one public."""

from __future__ import annotations

from typing import Any

PROGRAMS: tuple[tuple[str, str, tuple[tuple[Any, ...], ...]], ...] = (
    (
        "count_vowels(text) that returns how many of its letters are vowels (a, e, i, o, u).",
        "def count_vowels(text):\n    return sum(letter in 'aeiou' for letter in text.lower())",
        (("banana",), ("sky",), ("Orange Juice",), ("",)),
    ),
    (
        "is_leap_year(year) that says whether a year of our calendar has 366 days.",
        "def is_leap_year(year):\n    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)",
        ((2024,), (1900,), (2000,), (2023,)),
    ),
    (
        "rotate(items, k) that moves the first k items of a list to its end. k may be larger than the list is long.",
        "def rotate(items, k):\n    k = k % len(items) if items else 0\n    return items[k:] + items[:k]",
        (([1, 2, 3, 4], 1), ([1, 2, 3], 7), ([], 2), ([5, 6], 0)),
    ),
    (
        "digital_root(n) that adds up the digits of n, then the digits of that sum, and so on until one digit is left.",
        "def digital_root(n):\n    while n > 9:\n        n = sum(int(digit) for digit in str(n))\n    return n",
        ((38,), (0,), (999999,), (12345,)),
    ),
    (
        "second_largest(numbers) that returns the second largest of the different numbers in a "
        "list, or None where there are fewer than two.",
        "def second_largest(numbers):\n    found = sorted(set(numbers))\n"
        "    return found[-2] if len(found) > 1 else None",
        (([3, 1, 4, 4],), ([7, 7],), ([],), ([-1, -5, -3],)),
    ),
    (
        "run_lengths(text) that returns a list of [letter, count] for each run of equal letters.",
        "def run_lengths(text):\n    runs = []\n    for letter in text:\n        if runs and runs[-1][0] == letter:\n"
        "            runs[-1][1] += 1\n        else:\n            runs.append([letter, 1])\n    return runs",
        (("aabccc",), ("",), ("abc",), ("zzzz",)),
    ),
    (
        "is_balanced(text) that says whether the brackets (), [] and {} of a text are closed in the right order.",
        "def is_balanced(text):\n    pairs, opened = {')': '(', ']': '[', '}': '{'}, []\n    for sign in text:\n"
        "        if sign in '([{':\n            opened.append(sign)\n        elif sign in pairs:\n"
        "            if not opened or opened.pop() != pairs[sign]:\n                return False\n"
        "    return not opened",
        (("(a[b])",), ("(]",), ("",), ("((",), (")(",)),
    ),
    (
        "collatz_steps(n) that counts steps until n is 1: an even n is halved, an odd n becomes 3 * n + 1.",
        "def collatz_steps(n):\n    steps = 0\n    while n != 1:\n        n = n // 2 if n % 2 == 0 else 3 * n + 1\n"
        "        steps += 1\n    return steps",
        ((6,), (1,), (7,), (27,)),
    ),
    (
        "shift_letters(text, k) that moves each letter k places on in the alphabet, from z to a "
        "again, keeps its case, and leaves all else.",
        "def shift_letters(text, k):\n    def moved(sign):\n        if not sign.isalpha():\n            return sign\n"
        "        first = ord('a') if sign.islower() else ord('A')\n"
        "        return chr((ord(sign) - first + k) % 26 + first)\n    return ''.join(map(moved, text))",
        (("abc z", 2), ("Hello, you!", 13), ("", 4), ("XYZ", 27)),
    ),
    (
        "prime_factors(n) that returns the prime factors of n in ascending order, repeated ones included.",
        "def prime_factors(n):\n    found, factor = [], 2\n    while n > 1:\n        while n % factor == 0:\n"
        "            found.append(factor)\n            n //= factor\n        factor += 1\n    return found",
        ((12,), (1,), (97,), (360,)),
    ),
    (
        "transpose(rows) that makes columns of the rows of a table, a list of lists.",
        "def transpose(rows):\n    return [list(column) for column in zip(*rows)]",
        (([[1, 2, 3], [4, 5, 6]],), ([],), ([[7]],), ([[1], [2]],)),
    ),
    (
        "longest_run(numbers) that returns how many equal numbers stand next to each other at most.",
        "def longest_run(numbers):\n    best = length = 0\n    for place, number in enumerate(numbers):\n"
        "        length = length + 1 if place and numbers[place - 1] == number else 1\n"
        "        best = max(best, length)\n    return best",
        (([1, 1, 2, 2, 2, 1],), ([],), ([5],), ([3, 3, 4, 3],)),
    ),
    (
        "differences(first, second) that counts the places at which two texts of equal length have different letters.",
        "def differences(first, second):\n    return sum(a != b for a, b in zip(first, second))",
        (("karolin", "kathrin"), ("", ""), ("abc", "abc"), ("ab", "ba")),
    ),
    (
        "to_binary(n) that returns the binary digits of n as text, without a prefix.",
        "def to_binary(n):\n    return format(n, 'b')",
        ((10,), (0,), (1,), (255,)),
    ),
    (
        "common_divisor(numbers) that returns the greatest number that divides all numbers of a list.",
        "def common_divisor(numbers):\n    from math import gcd\n    found = 0\n    for number in numbers:\n"
        "        found = gcd(found, number)\n    return found",
        (([12, 18, 30],), ([7],), ([8, 9],), ([100, 75, 50],)),
    ),
    (
        "are_anagrams(first, second) that says whether two texts have the same letters. Case and spaces do not count.",
        "def are_anagrams(first, second):\n    def letters(text):\n"
        "        return sorted(text.replace(' ', '').lower())\n    return letters(first) == letters(second)",
        (("Dormitory", "dirty room"), ("abc", "abd"), ("", " "), ("aab", "abb")),
    ),
    (
        "flatten(lists) that puts the items of a list of lists into one list, in order.",
        "def flatten(lists):\n    return [item for items in lists for item in items]",
        (([[1, 2], [], [3]],), ([],), ([[4]],), ([["a"], ["b", "c"]],)),
    ),
    (
        "median(numbers) that returns the middle number of a list in order, or the mean of the "
        "two middle ones, as a float.",
        "def median(numbers):\n    found, middle = sorted(numbers), len(numbers) // 2\n    if len(found) % 2:\n"
        "        return float(found[middle])\n    return (found[middle - 1] + found[middle]) / 2",
        (([3, 1, 2],), ([4, 1, 3, 2],), ([5],), ([2, 2, 9, 7],)),
    ),
    (
        "most_frequent(items) that returns the item that a list has most often; of several, the smallest.",
        "def most_frequent(items):\n    return min(set(items), key=lambda item: (-items.count(item), item))",
        (([1, 2, 2, 3],), ([5],), ([4, 3, 4, 3],), (["b", "a", "b"],)),
    ),
    (
        "pascal_row(n) that returns row n of Pascal's triangle as a list; row 0 is [1].",
        "def pascal_row(n):\n    row = [1]\n    for _ in range(n):\n"
        "        row = [a + b for a, b in zip([0, *row], [*row, 0])]\n    return row",
        ((4,), (0,), (1,), (6,)),
    ),
    (
        "chunks(items, size) that cuts a list into lists of the given size; the last one may be shorter.",
        "def chunks(items, size):\n    return [items[i : i + size] for i in range(0, len(items), size)]",
        (([1, 2, 3, 4, 5], 2), ([], 3), ([1, 2], 5), ([1, 2, 3], 1)),
    ),
    (
        "without_repeats(items) that keeps the first of equal items, in the order of the list.",
        "def without_repeats(items):\n    return list(dict.fromkeys(items))",
        (([3, 1, 3, 2, 1],), ([],), (["a", "a"],), ([1, 2],)),
    ),
    (
        "interleave(first, second) that takes items from two lists by turns, and then what is left of the longer one.",
        "def interleave(first, second):\n    short = min(len(first), len(second))\n"
        "    mixed = [item for pair in zip(first, second) for item in pair]\n"
        "    return mixed + first[short:] + second[short:]",
        (([1, 2, 3], [9, 8]), ([], [1]), ([1], [2, 3, 4]), ([], [])),
    ),
    (
        "roman(n) that writes a number from 1 to 3999 in Roman numerals.",
        "def roman(n):\n    signs = [(1000, 'M'), (900, 'CM'), (500, 'D'), (400, 'CD'), (100, 'C'), (90, 'XC'),\n"
        "             (50, 'L'), (40, 'XL'), (10, 'X'), (9, 'IX'), (5, 'V'), (4, 'IV'), (1, 'I')]\n    text = ''\n"
        "    for value, sign in signs:\n        text += sign * (n // value)\n        n %= value\n    return text",
        ((14,), (1994,), (3999,), (8,)),
    ),
    (
        "merge(ranges) that joins overlapping or touching ranges [low, high] and returns them in order.",
        "def merge(ranges):\n    merged = []\n    for low, high in sorted(ranges):\n"
        "        if merged and low <= merged[-1][1]:\n            merged[-1][1] = max(merged[-1][1], high)\n"
        "        else:\n            merged.append([low, high])\n    return merged",
        (([[1, 3], [2, 5], [7, 8]],), ([],), ([[4, 6], [1, 4]],), ([[1, 9], [2, 3]],)),
    ),
    (
        "words_by_length(text) that returns the words of a text, shortest first; words of equal length stay in order.",
        "def words_by_length(text):\n    return sorted(text.split(), key=len)",
        (("the quick fox is red",), ("",), ("bb aa c",), ("one",)),
    ),
    (
        "running_total(numbers) that returns the list of sums of the first 1, 2, 3, ... numbers.",
        "def running_total(numbers):\n    totals = []\n    for number in numbers:\n"
        "        totals.append(number + (totals[-1] if totals else 0))\n    return totals",
        (([1, 2, 3],), ([],), ([5],), ([2, -2, 7],)),
    ),
    (
        "is_sorted(items) that says whether no item of a list is smaller than the one before it.",
        "def is_sorted(items):\n    return all(a <= b for a, b in zip(items, items[1:]))",
        (([1, 2, 2],), ([3, 1],), ([],), ([1],)),
    ),
    (
        "clock(minutes) that writes minutes since midnight as text of the form HH:MM; days begin again at 00:00.",
        "def clock(minutes):\n    return f'{minutes // 60 % 24:02}:{minutes % 60:02}'",
        ((75,), (0,), (1439,), (1500,)),
    ),
    (
        "diagonal_sum(rows) that adds up the numbers on the diagonal of a square table, from the "
        "upper left to the lower right.",
        "def diagonal_sum(rows):\n    return sum(row[place] for place, row in enumerate(rows))",
        (([[1, 2], [3, 4]],), ([[5]],), ([],), ([[1, 0, 0], [0, 2, 0], [0, 0, 3]],)),
    ),
    (
        "initials(name) that returns the first letters of all words of a name, in capitals, each "
        "with a full stop behind it.",
        "def initials(name):\n    return ''.join(f'{word[0].upper()}.' for word in name.split())",
        (("ada lovelace",), ("Plato",), ("",), ("john ronald reuel tolkien",)),
    ),
    (
        "nearest(numbers, target) that returns the number of a list that is nearest to the "
        "target; of two equally near ones, the smaller.",
        "def nearest(numbers, target):\n    return min(numbers, key=lambda number: (abs(number - target), number))",
        (([1, 5, 9], 6), ([4, 8], 6), ([3], 10), ([-2, 2], 0)),
    ),
)
