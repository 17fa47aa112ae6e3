"""Tests that assert are judged as Python judges them, though the program that they ask runs apart from them.

Each case is a program and tests. What is right is what Python says of both in one module; the cases are this file's own
and may be run here.
"""

from __future__ import annotations

import ast

import pytest

from mopd.judging.verdicts import judge
from tests.integration.test_code import asserts, block, problem
from tests.integration.test_sandbox import needs_sandbox

pytestmark = needs_sandbox


def verdict_on(program, tests, **more):
    return judge(problem(asserts(tests, **more), public_tests=asserts(tests, **more)), block(program))


def python_says(program, tests):
    """Whether every statement of the tests runs behind the program."""
    scope = {"__name__": "cases"}
    exec(compile(program, "<program>", "exec", dont_inherit=True), scope)
    try:
        for node in ast.parse(tests).body:
            exec(compile(ast.Module([node], []), "<tests>", "exec", dont_inherit=True), scope)
    except BaseException:
        return False
    return True


CASES = {
    "a class with a container's methods": (
        """
class Stack:
    def __init__(self, items=()):
        self.items = list(items)
    def push(self, x):
        self.items.append(x)
        return self
    def pop(self):
        return self.items.pop()
    def __len__(self):
        return len(self.items)
    def __contains__(self, x):
        return x in self.items
    def __iter__(self):
        return iter(self.items)
    def __getitem__(self, i):
        return self.items[i]
    def __setitem__(self, i, v):
        self.items[i] = v
    def __bool__(self):
        return bool(self.items)
    def __repr__(self):
        return f"Stack({self.items})"
    def __eq__(self, o):
        return isinstance(o, Stack) and self.items == o.items
""",
        """
s = Stack()
s.push(1).push(2)
assert len(s) == 2
assert 1 in s
assert 5 not in s
assert list(s) == [1, 2]
assert s[0] == 1 and s[-1] == 2
s[0] = 9
assert s.items == [9, 2]
assert repr(s) == 'Stack([9, 2])'
assert str(s) == 'Stack([9, 2])'
assert s
assert not Stack()
assert Stack([1]) == Stack([1])
assert Stack([1]) != Stack([2])
assert s.pop() == 2
s.items.append(4)
assert s.pop() == 4
assert sorted(Stack([3, 1])) == [1, 3]
a, b = Stack([1, 2])
assert (a, b) == (1, 2)
assert [*s] == [9]
assert isinstance(s, Stack) and type(s) is Stack and type(s).__name__ == 'Stack'
assert not isinstance(s, list)
assert hasattr(s, 'push') and not hasattr(s, 'shove')
assert s[0:1] == [9]
x = s.items
assert x is s.items
assert vars(s) == {'items': [9]}
""",
    ),
    "an object is a plain value to Python where its class says nothing else": (
        """
class Stack:
    def __init__(self, items=()):
        self.items = list(items)
    def push(self, x):
        self.items.append(x)
        return self
    def pop(self):
        return self.items.pop()
    def __len__(self):
        return len(self.items)
    def __contains__(self, x):
        return x in self.items
    def __iter__(self):
        return iter(self.items)
    def __getitem__(self, i):
        return self.items[i]
    def __setitem__(self, i, v):
        self.items[i] = v
    def __bool__(self):
        return bool(self.items)
    def __repr__(self):
        return f"Stack({self.items})"
    def __eq__(self, o):
        return isinstance(o, Stack) and self.items == o.items
""",
        """
s = Stack()
s.push(1)
assert s == [1]
""",
    ),
    "a class is no number": (
        """
class Stack:
    def __init__(self, items=()):
        self.items = list(items)
    def push(self, x):
        self.items.append(x)
        return self
    def pop(self):
        return self.items.pop()
    def __len__(self):
        return len(self.items)
    def __contains__(self, x):
        return x in self.items
    def __iter__(self):
        return iter(self.items)
    def __getitem__(self, i):
        return self.items[i]
    def __setitem__(self, i, v):
        self.items[i] = v
    def __bool__(self):
        return bool(self.items)
    def __repr__(self):
        return f"Stack({self.items})"
    def __eq__(self, o):
        return isinstance(o, Stack) and self.items == o.items
""",
        """
assert Stack() == 0
""",
    ),
    "what a method returns": (
        """
class Stack:
    def __init__(self, items=()):
        self.items = list(items)
    def push(self, x):
        self.items.append(x)
        return self
    def pop(self):
        return self.items.pop()
    def __len__(self):
        return len(self.items)
    def __contains__(self, x):
        return x in self.items
    def __iter__(self):
        return iter(self.items)
    def __getitem__(self, i):
        return self.items[i]
    def __setitem__(self, i, v):
        self.items[i] = v
    def __bool__(self):
        return bool(self.items)
    def __repr__(self):
        return f"Stack({self.items})"
    def __eq__(self, o):
        return isinstance(o, Stack) and self.items == o.items
""",
        """
s = Stack()
assert s.pop() == 1
""",
    ),
    "a name that is nowhere": (
        """
class Stack:
    def __init__(self, items=()):
        self.items = list(items)
    def push(self, x):
        self.items.append(x)
        return self
    def pop(self):
        return self.items.pop()
    def __len__(self):
        return len(self.items)
    def __contains__(self, x):
        return x in self.items
    def __iter__(self):
        return iter(self.items)
    def __getitem__(self, i):
        return self.items[i]
    def __setitem__(self, i, v):
        self.items[i] = v
    def __bool__(self):
        return bool(self.items)
    def __repr__(self):
        return f"Stack({self.items})"
    def __eq__(self, o):
        return isinstance(o, Stack) and self.items == o.items
""",
        """
assert s.pop() == 1
""",
    ),
    "an exception with its text": (
        """
class Stack:
    def __init__(self, items=()):
        self.items = list(items)
    def push(self, x):
        self.items.append(x)
        return self
    def pop(self):
        return self.items.pop()
    def __len__(self):
        return len(self.items)
    def __contains__(self, x):
        return x in self.items
    def __iter__(self):
        return iter(self.items)
    def __getitem__(self, i):
        return self.items[i]
    def __setitem__(self, i, v):
        self.items[i] = v
    def __bool__(self):
        return bool(self.items)
    def __repr__(self):
        return f"Stack({self.items})"
    def __eq__(self, o):
        return isinstance(o, Stack) and self.items == o.items
""",
        """
try:
    Stack().pop()
    assert False
except IndexError as e:
    assert str(e) == 'pop from empty list'
""",
    ),
    "a missing item": (
        """
class Stack:
    def __init__(self, items=()):
        self.items = list(items)
    def push(self, x):
        self.items.append(x)
        return self
    def pop(self):
        return self.items.pop()
    def __len__(self):
        return len(self.items)
    def __contains__(self, x):
        return x in self.items
    def __iter__(self):
        return iter(self.items)
    def __getitem__(self, i):
        return self.items[i]
    def __setitem__(self, i, v):
        self.items[i] = v
    def __bool__(self):
        return bool(self.items)
    def __repr__(self):
        return f"Stack({self.items})"
    def __eq__(self, o):
        return isinstance(o, Stack) and self.items == o.items
""",
        """
try:
    Stack()[3]
except IndexError:
    ok = True
assert ok
""",
    ),
    "operators, class methods, properties": (
        """
class V:
    def __init__(self, x, y):
        self.x, self.y = x, y
    def __add__(self, o): return V(self.x + o.x, self.y + o.y)
    def __sub__(self, o): return V(self.x - o.x, self.y - o.y)
    def __mul__(self, k): return V(self.x * k, self.y * k)
    __rmul__ = __mul__
    def __eq__(self, o): return (self.x, self.y) == ((o.x, o.y) if isinstance(o, V) else o)
    def __hash__(self): return hash((self.x, self.y))
    def __lt__(self, o): return abs(self) < abs(o)
    def __abs__(self): return (self.x ** 2 + self.y ** 2) ** .5
    def __neg__(self): return V(-self.x, -self.y)
    def __iadd__(self, o): self.x += o.x; self.y += o.y; return self
    def __str__(self): return f"({self.x}, {self.y})"
    def __format__(self, spec): return format(self.x, spec)
    def __call__(self, k=1): return self.x * k
    @classmethod
    def zero(cls): return cls(0, 0)
    @staticmethod
    def dim(): return 2
    @property
    def norm(self): return abs(self)
""",
        """
assert V(1, 2) + V(3, 4) == V(4, 6)
assert V(1, 2) * 3 == V(3, 6)
assert 3 * V(1, 2) == V(3, 6)
assert V(1, 2) == (1, 2)
assert abs(V(3, 4)) == 5
assert -V(1, 2) == V(-1, -2)
assert V(1, 1) < V(2, 2)
assert sorted([V(2, 2), V(1, 1)])[0] == V(1, 1)
v = V(1, 1)
v += V(1, 1)
assert v.x == 2
assert str(v) == '(2, 2)'
assert f'{v:.1f}' == '2.0'
assert v(k=3) == 6
assert V.zero() == V(0, 0)
assert V.dim() == 2
assert V(3, 4).norm == 5
assert {V(1, 2): 1}[V(1, 2)] == 1
assert len({V(1, 2), V(1, 2)}) == 1
assert V(1, 2) in [V(1, 2)]
assert max(V(1, 1), V(5, 5)).x == 5
assert sum([V(1, 1), V(2, 2)], V(0, 0)) == V(3, 3)
assert (V(1, 1) + V(1, 1)) * 2 == (4, 4)
v.z = 5
assert v.z == 5
del v.z
assert not hasattr(v, 'z')
assert V(1, 2) != V(2, 2)
assert callable(v)
""",
    ),
    "inheritance and class attributes": (
        """
class A:
    def speak(self): raise NotImplementedError
class D(A):
    count = 0
    def __init__(self): D.count += 1
    def speak(self): return 'w'
""",
        """
d = D()
assert d.speak() == 'w'
assert isinstance(d, A) and issubclass(D, A)
assert D.count == 1
D.count = 7
D()
assert D.count == 8
try:
    A().speak()
    assert False
except NotImplementedError:
    pass
""",
    ),
    "exceptions of the program's own": (
        """
class E(Exception):
    def __init__(self, code): super().__init__(f'code {code}'); self.code = code
class F(E, KeyError): pass
def f(n):
    if n < 0: raise F(n)
    raise E(n)
""",
        """
try:
    f(1)
    assert False
except F:
    assert False
except E as e:
    assert e.code == 1 and str(e) == 'code 1' and e.args == ('code 1',)
try:
    f(-1)
    assert False
except KeyError as e:
    assert isinstance(e, E) and type(e) is F and type(e).__name__ == 'F'
try:
    f(-1)
except Exception as e:
    got = e
assert got.code == -1
assert issubclass(F, E) and issubclass(E, Exception)
""",
    ),
    "a builtin exception's arguments": (
        """
def f(d): return d['x']
""",
        """
try:
    f({})
    assert False
except KeyError as e:
    assert e.args == ('x',) and str(e) == "'x'"

""",
    ),
    "an exit": (
        """
import sys
def f(): sys.exit(3)
""",
        """
try:
    f()
    assert False
except SystemExit as e:
    assert e.code == 3
""",
    ),
    "a StopIteration that tests name": (
        """
def f(): raise StopIteration(4)
""",
        """
try:
    f()
    assert False
except StopIteration as e:
    assert e.value == 4
""",
    ),
    "values of the standard library": (
        """
from fractions import Fraction
from decimal import Decimal
import datetime
from collections import *
def fr(): return [Fraction(1, 3)]
def de(x): return x * 2
def da(): return datetime.date(2020, 1, 1)
def dt(x): return x + datetime.timedelta(days=1)
def q(): return deque([1, 2], 2)
def c(s): return Counter(s)
def dd():
    d = defaultdict(lambda: 5)
    d[1] = 2
    return d
def od(): return OrderedDict(b=1, a=2)
""",
        """
from fractions import Fraction
from decimal import Decimal
from collections import *
import datetime
assert fr() == [Fraction(1, 3)]
assert fr()[0].numerator == 1
assert de(Decimal('1.1')) == Decimal('2.2')
assert da() == datetime.date(2020, 1, 1)
assert da().year == 2020
assert isinstance(da(), datetime.date)
assert dt(datetime.datetime(2020, 1, 1)) == datetime.datetime(2020, 1, 2)
assert q() == deque([1, 2])
assert q() != [1, 2]
assert c('aab') == Counter('aab') == {'a': 2, 'b': 1}
assert c('a')['z'] == 0
assert c('aab').most_common(1) == [('a', 2)]
d = dd()
assert d == {1: 2}
assert d[9] == 5
assert od() == OrderedDict(b=1, a=2)
assert list(od()) == ['b', 'a']
""",
    ),
    "named tuples": (
        """
from collections import namedtuple
from typing import NamedTuple
P = namedtuple('P', 'x y')
class Q(NamedTuple):
    a: int
    b: list
def f(): return P(1, 2)
def g(n): return [P(i, i) for i in range(n)]
def h(): return Q(1, [2])
""",
        """
assert f() == (1, 2)
assert f().x == 1
a, b = f()
assert a + b == 3
assert f()[1] == 2
assert isinstance(f(), tuple)
assert f() == P(1, 2)
assert len(f()) == 2
assert g(100)[99] == (99, 99)
assert sorted(g(3), reverse=True)[0] == (2, 2)
assert f() in [(1, 2)]
assert {f(): 3}[(1, 2)] == 3
assert f()._fields == ('x', 'y')
assert f()._replace(x=5) == (5, 2)
assert h().b == [2]
assert f() + (3,) == (1, 2, 3)
assert f() < (1, 3)
assert f() != (2, 2)
assert repr(f()) == 'P(x=1, y=2)'
""",
    ),
    "enums": (
        """
from enum import Enum, IntEnum
class C(Enum):
    RED = 1
    BLUE = 2
class N(IntEnum):
    ONE = 1
class S(str, Enum):
    A = 'a'
def f(n): return C.RED if n == 1 else C.BLUE
def g(): return N.ONE
def h(): return S.A
""",
        """
assert f(1) == C.RED
assert f(2) is C.BLUE
assert f(1) != C.BLUE
assert f(1).name == 'RED' and f(1).value == 1
assert C(1) is C.RED
assert C['RED'] is C.RED
assert [c.name for c in C] == ['RED', 'BLUE']
assert len(C) == 2
assert C.RED in C
assert g() == 1
assert g() + 1 == 2
assert h() == 'a'
assert isinstance(f(1), C)
assert f(1) in (C.RED,)
assert {C.RED: 5}[f(1)] == 5
assert str(f(1)) == 'C.RED'
assert f(1) != 1
assert [10, 20][g()] == 20
assert h().upper() == 'A'
""",
    ),
    "dataclasses": (
        """
from dataclasses import dataclass, field
@dataclass(order=True, frozen=True)
class P:
    x: int
    y: int = 0
@dataclass
class T:
    v: int
    kids: list = field(default_factory=list)
""",
        """
assert P(1) == P(1, 0)
assert P(1) < P(2)
assert repr(P(1)) == 'P(x=1, y=0)'
assert len({P(1), P(1)}) == 1
try:
    P(1).x = 3
    assert False
except AttributeError:
    pass
t = T(1)
t.kids.append(T(2))
assert t.kids[0].v == 2
t.v += 5
assert t == T(6, [T(2)])
t.kids[0].v = 8
assert t.kids[0].v == 8
""",
    ),
    "lists and dicts are one thing on both sides": (
        """
def order(a, *, deep=None):
    a.sort()
    if deep: deep['k'][0].append(1)
def swap(g):
    g[0], g[1] = g[1], g[0]
def same(a): return a
def both(a, b): a.append(1); return b
held = []
def keep(a): held.append(a)
def grow(): held[0].append(9)
""",
        """
a = [3, 1]
order(a=a)
assert a == [1, 3]
row = [[]]
order([], deep={'k': row})
assert row == [[1]]
x, y = [1], [2]
g = [x, y]
swap(g)
assert g[0] is y and g == [[2], [1]]
assert same(a) is a
z = []
assert both(z, z) == [1]
assert both(z, []) == []
keep(x)
grow()
assert x == [1, 9]
x.append(5)
assert held[0] == [1, 9, 5]
held[0].append(6)
assert x[-1] == 6
d = {}
keep(d)
assert held[1] is d
""",
    ),
    "what is computed when it is asked for": (
        """
def inc(xs): return map(lambda x: x + 1, xs)
def ev(xs): return filter(None, xs)
def z(a, b): return zip(a, b)
def gen(n):
    for i in range(n): yield i
def nat():
    n = 0
    while True:
        yield n
        n += 1
def r(n): return range(n)
def k(d): return d.keys()
def it(x): return iter(x)
""",
        """
from itertools import islice
assert list(inc([1, 2])) == [2, 3]
assert inc([1]) != [2]
assert list(ev([0, 1])) == [1]
assert dict(z('ab', [1, 2])) == {'a': 1, 'b': 2}
assert list(gen(3)) == [0, 1, 2]
assert gen(2) != [0, 1]
g = nat()
assert next(g) == 0 and next(g) == 1
assert list(islice(g, 3)) == [2, 3, 4]
assert r(3) == range(3) and r(3) != [0, 1, 2]
assert list(r(3)) == [0, 1, 2]
assert k({'a': 1}) == {'a'}
assert next(it([7])) == 7
assert sum(gen(4)) == 6
assert iter(g) is g
try:
    next(gen(0))
    assert False
except StopIteration:
    pass
assert isinstance(inc([]), map)
import types
assert isinstance(g, types.GeneratorType)
""",
    ),
    "a map for a list": (
        """
def inc(xs): return map(lambda x: x + 1, xs)
""",
        """
assert inc([1]) == [2]
""",
    ),
    "a generator for a list": (
        """
def gen(n):
    for i in range(n): yield i
""",
        """
assert gen(2) == [0, 1]
""",
    ),
    "a range for a list": (
        """
def r(n): return range(n)
""",
        """
assert r(2) == [0, 1]
""",
    ),
    "a zip for a list": (
        """
def z(a, b): return zip(a, b)
""",
        """
assert z([1], [2]) == [(1, 2)]
""",
    ),
    "functions and iterators as arguments": (
        """
def ap(f, x): return f(x)
def comp(f, g): return lambda x: f(g(x))
def mp(f, xs): return [f(x) for x in xs]
def srt(xs, key): return sorted(xs, key=key)
def take(n, it): return [next(it) for _ in range(n)]
def total(it): return sum(it)
def dec(f):
    def w(*a, **k): return f(*a, **k) + 1
    return w
def rm(xs, t): return [x for x in xs if not isinstance(x, t)]
def call(f):
    try:
        return f()
    except ValueError as e:
        return 'caught ' + str(e)
""",
        """
import operator, math
assert ap(lambda x: x + 1, 3) == 4
assert comp(lambda x: x + 1, lambda x: x * 2)(3) == 7
assert mp(str, [1, 2]) == ['1', '2']
assert mp(math.sqrt, [4]) == [2]
assert mp(len, ['a']) == [1]
assert srt([3, 1], lambda x: -x) == [3, 1]
assert srt(['b', 'A'], key=str.lower) == ['A', 'b']
assert take(2, iter([1, 2, 3])) == [1, 2]
assert total(x for x in [1, 2]) == 3
def plus(a, b=1): return a + b
assert dec(plus)(1, b=2) == 4
@dec
def one(): return 1
assert one() == 2
assert rm([1, 2.5, 'a', None], (str, type(None))) == [1, 2.5]
assert ap(operator.neg, 3) == -3
seen = []
ap(seen.append, 4)
assert seen == [4]
def bad(): raise ValueError('x')
assert call(bad) == 'caught x'
def worse(): raise KeyError('y')
try:
    call(worse)
    assert False
except KeyError as e:
    assert e.args == ('y',)
assert ap(ap.__class__, 1) if False else True
assert mp(dec(plus), [1]) == [3]
""",
    ),
    "context managers": (
        """
from contextlib import contextmanager
class T:
    log = []
    def __enter__(self): self.log.append('in'); return self
    def __exit__(self, *a): self.log.append('out'); return a[0] is ValueError
@contextmanager
def cm(x):
    x.append(1)
    yield 5
    x.append(2)
""",
        """
with T() as t:
    assert t.log == ['in']
assert T.log == ['in', 'out']
with T():
    raise ValueError('q')
assert len(T.log) == 4
x = []
with cm(x) as v:
    assert v == 5 and x == [1]
assert x == [1, 2]
""",
    ),
    "names of a module that the program imports": (
        """
import math
PI = math.pi
def f(x): return math.floor(x)
""",
        """
assert f(2.5) == 2
assert math.isclose(PI, 3.14159, rel_tol=1e-3)
""",
    ),
    "a function called like a module": (
        """
def copy(a): return list(a)
""",
        """
assert copy([1]) == [1]
""",
    ),
    "a function called like a builtin": (
        """
def sum(a, b): return a * b
""",
        """
assert sum(2, 3) == 6
x = sum(2, 2)
assert x == 4
""",
    ),
    "a builtin that is redefined beside": (
        """
def f(xs): return xs
def sorted(xs): return [1, 2]
""",
        """
assert f([2, 1]) == [2, 1]
""",
    ),
    "classes that extend plain ones": (
        """
class S(list):
    def top(self): return self[-1]
    def push(self, x): self.append(x)
class M(dict):
    def __missing__(self, k): return k * 2
    def __getattr__(self, k): return self[k]
class Str(str):
    def shout(self): return self.upper() + '!'
class I(int):
    def double(self): return I(self * 2)
""",
        """
s = S([1])
s.push(2)
s.append(3)
assert s.top() == 3
assert s == [1, 2, 3]
assert len(s) == 3 and 2 in s and list(s) == [1, 2, 3]
assert s[0] == 1
s[0] = 5
assert s == [5, 2, 3]
s += [4]
assert s.top() == 4
m = M(a=1)
assert m['a'] == 1 and m['bb'] == 'bbbb'
assert m == {'a': 1}
m['z'] = 3
assert m.z == 3
assert Str('a').shout() == 'A!'
assert Str('a') == 'a'
assert Str('a') + 'b' == 'ab'
assert 'b' + Str('a') == 'ba'
assert I(3).double() == 6
assert I(3) + 1 == 4
assert 1 + I(3) == 4
assert isinstance(s, list) and isinstance(m, dict)
assert I(3) < 4 and I(3) >= 3
assert len(Str('abc')) == 3
assert {**m} == {'a': 1, 'z': 3}
""",
    ),
    "a linked list": (
        """
class Node:
    def __init__(self, v, next=None): self.val, self.next = v, next
def rev(h):
    p = None
    while h: h.next, p, h = p, h, h.next
    return p
""",
        """
n = Node(1, Node(2, Node(3)))
r = rev(n)
out = []
while r:
    out.append(r.val)
    r = r.next
assert out == [3, 2, 1]
assert n.next is None
""",
    ),
    "private attributes": (
        """
class A:
    def __init__(self): self._p = 1
    def _private(self): return self._p
""",
        """
a = A()
assert a._p == 1
a._p = 3
assert a._private() == 3
assert a.__dict__ == {'_p': 3}
assert A.__name__ == 'A' and A.__doc__ is None
assert getattr(a, 'q', 5) == 5
setattr(a, 'q', 6)
assert a.q == 6
""",
    ),
    "copies": (
        """
import copy as c
class A:
    def __init__(self, x): self.x = x
    def __eq__(self, o): return self.x == o.x
""",
        """
import copy
a = A([1])
b = copy.deepcopy(a)
b.x.append(2)
assert a.x == [1]
assert b.x == [1, 2]
d = copy.copy(a)
assert d.x is a.x and d is not a
""",
    ),
    "caches and partial functions": (
        """
import functools
@functools.lru_cache(None)
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
add = functools.partial(lambda a, b: a + b, 1)
""",
        """
assert fib(30) == 832040
assert fib.cache_info().hits > 0
assert add(2) == 3
assert fib.__name__ == 'fib'
""",
    ),
    "what a function says of itself": (
        """
def f(): 'doc'
def g(a, b=2): return a
""",
        """
assert f.__doc__ == 'doc'
assert f.__name__ == 'f'
assert callable(f)
assert f() is None
assert g.__defaults__ == (2,)
""",
    ),
    "a match of a pattern": (
        """
import re
def f(s): return re.match(r'(a)(b)?', s)
""",
        """
assert f('ab').group(1) == 'a'
assert f('x') is None
assert f('a').groups() == ('a', None)
assert f('ab')
""",
    ),
    "nan, booleans, long numbers": (
        """
def f(x): return x == x
""",
        """
assert f(float('nan')) is False
assert f(True) is True
assert f(10**5000)
""",
    ),
    "classes as results": (
        """
def f(): return int
def g(x): return type(x)
""",
        """
assert f() is int
assert g(3) is int and g('a') == str
""",
    ),
    "a dict with keys that are tuples": (
        """
class T:
    def __init__(self): self.ms = {}
    def set(self, k, v): self.ms[k] = v
    def get(self, k): return self.ms.get(k)
""",
        """
t = T()
k = (1, 'a')
t.set(k, [1])
t.get(k).append(2)
assert t.get(k) == [1, 2]
t.ms['q'] = 4
assert t.get('q') == 4
""",
    ),
    "a property that refuses": (
        """
class Account:
    def __init__(self): self.b = 0
    @property
    def balance(self): return self.b
    @balance.setter
    def balance(self, v):
        if v < 0: raise ValueError('negative')
        self.b = v
""",
        """
a = Account()
a.balance = 5
assert a.balance == 5 and a.b == 5
try:
    a.balance = -1
    assert False
except ValueError as e:
    assert 'negative' in str(e)
""",
    ),
    "an iterator of the program's own": (
        """
class It:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        if self.n == 0: raise StopIteration
        self.n -= 1
        return self.n
""",
        """
assert list(It(3)) == [2, 1, 0]
assert sum(It(3)) == 3
assert max(It(4)) == 3
assert 1 in It(3)
i = It(1)
assert i.__next__() == 0
try:
    next(i)
    assert False
except StopIteration:
    pass
""",
    ),
    "a coroutine": (
        """
async def f(x): return x + 1
""",
        """
import asyncio
assert asyncio.run(f(1)) == 2
""",
    ),
    "a coroutine that waits": (
        """
import asyncio
async def f(x):
    await asyncio.sleep(0)
    return x + 1
""",
        """
import asyncio
assert asyncio.run(f(1)) == 2
""",
    ),
    "a generator that is sent to": (
        """
def f():
    x = yield 1
    yield x * 2
""",
        """
g = f()
assert next(g) == 1
assert g.send(4) == 8
""",
    ),
    "attributes made up": (
        """
class A:
    def __getattr__(self, n): return n * 2
""",
        """
assert A().foo == 'foofoo'
""",
    ),
    "conversions": (
        """
class A:
    def __init__(self, v): self.v = v
    def __int__(self): return self.v
    def __float__(self): return self.v * 1.0
    def __index__(self): return self.v
    def __bool__(self): return False
    def __round__(self, n=0): return round(self.v, n)
""",
        """
assert int(A(3)) == 3 and float(A(3)) == 3.0 and [0, 1, 2][A(2)] == 2
assert not A(3)
assert round(A(3)) == 3
""",
    ),
    "an assertion of the program's own": (
        """
def f(): raise AssertionError('no')
""",
        """
try:
    f()
except AssertionError as e:
    m = str(e)
assert m == 'no'
""",
    ),
    "threads of the tests": (
        """
import threading
class Counter:
    def __init__(self):
        self.n, self.lock = 0, threading.Lock()
    def add(self):
        with self.lock:
            self.n += 1
""",
        """
import threading
c = Counter()
threads = [threading.Thread(target=lambda: [c.add() for _ in range(20)]) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert c.n == 80
""",
    ),
    "a generic class": (
        """
from typing import Generic, TypeVar
T = TypeVar("T")
class Box(Generic[T]):
    def __init__(self, held):
        self.held = held
""",
        """
assert Box[int](3).held == 3
assert isinstance(Box(3), Box)
""",
    ),
    "an abstract class": (
        """
from abc import ABC, abstractmethod
class Shape(ABC):
    @abstractmethod
    def area(self): ...
class Square(Shape):
    def area(self):
        return 4
""",
        """
try:
    Shape()
    assert False
except TypeError:
    pass
assert isinstance(Square(), Shape) and Square().area() == 4
""",
    ),
    "a call of a function that asserts is a test": (
        """
def f(x): return x
""",
        """
def check(c):
  assert c(1)==1
check(f)
""",
    ),
    "a call of a function whose assertion fails": (
        """
def f(x): return 2
""",
        """
def check(c):
  assert c(1)==1
check(f)
""",
    ),
    "what is printed is where the tests listen": (
        """
def f(): print('hi'); return 3
""",
        """
import io, contextlib
b=io.StringIO()
with contextlib.redirect_stdout(b):
  assert f()==3
assert b.getvalue()=='hi\\n'
""",
    ),
    "what is printed is no other text": (
        """
def f(): print('ho')
""",
        """
import io, sys
old=sys.stdout
sys.stdout=b=io.StringIO()
f()
sys.stdout=old
assert b.getvalue()=='hi\\n'
""",
    ),
    "tests may silence a program": (
        """
def f(): print('ho'); return 1
""",
        """
import io, contextlib, os
with contextlib.redirect_stdout(open(os.devnull,'w')):
  r=f()
assert r==1
""",
    ),
    "what is replaced and not used changes nothing": (
        """
def f(): return 5
""",
        """
from unittest.mock import patch
with patch('time.sleep'):
  assert f()==5
""",
    ),
    "chance begins where the tests seed it": (
        """
import random
def f(xs):
  random.shuffle(xs); return xs
""",
        """
import random
random.seed(5)
a=f(list(range(9)))
random.seed(5)
b=list(range(9)); random.shuffle(b)
assert a==b
""",
    ),
    "chance goes on from the tests' own draws": (
        """
import random
def f(): return random.randint(0,10**9)
""",
        """
import random
random.seed(5)
x=random.random()
a=f()
random.seed(5)
random.random()
assert a==random.randint(0,10**9)
""",
    ),
    "a decorator of the program's keeps the name of a function of the tests": (
        """
import functools
def deco(fn):
  @functools.wraps(fn)
  def w(*a): return fn(*a)
  return w
""",
        """
@deco
def g(x):
  'doc'
  return x
assert g.__doc__=='doc' and g.__name__=='g' and g.__qualname__=='g' and g(1)==1
assert g.__wrapped__(2)==2
""",
    ),
    "a decorator keeps annotations": (
        """
import functools
def deco(fn):
  @functools.wraps(fn)
  def w(*a): return fn(*a)
  return w
""",
        """
@deco
def g(x: int) -> str: return x
assert g.__annotations__=={'x':int,'return':str}
""",
    ),
    "a function of the tests is a function": (
        """
import types
def f(x): return isinstance(x, types.FunctionType)
""",
        """
assert f(lambda: 1)
assert not f(len)
assert not f(3)
""",
    ),
    "a generator of the tests is a generator": (
        """
import types
def f(x): return isinstance(x, types.GeneratorType)
""",
        """
assert f(i for i in [1])
assert not f(iter([1]))
""",
    ),
    "functions are not copied": (
        """
import copy
class E:
  def __init__(s): s.h=[]
  def on(s,f): s.h.append(f)
  def clone(s): return copy.deepcopy(s)
  def fire(s): return [h() for h in s.h]
""",
        """
e=E()
e.on(lambda: 4)
assert e.clone().fire()==[4]
""",
    ),
    "a function of the tests is the same one each time": (
        """
class E:
  def __init__(s): s.h={}
  def on(s,n,f): s.h.setdefault(n,[]).append(f)
  def off(s,n,f): s.h[n].remove(f)
  def emit(s,n,*a):
    for f in s.h.get(n,[]): f(*a)
""",
        """
e=E()
l=[]
def g(x): l.append(x)
e.on('a',g)
e.emit('a',1)
assert l==[1]
e.off('a',g)
e.emit('a',2)
assert l==[1]
assert e.h=={'a':[]}
""",
    ),
    "a file of the tests has lines": (
        """
def f(fh): return [l.strip() for l in fh]
""",
        """
import io
assert f(io.StringIO('a\\nb'))==['a','b']
""",
    ),
    "a library steps through the lines of the tests": (
        """
import csv
def f(fh): return list(csv.reader(fh))
""",
        """
import io
assert f(io.StringIO('a,b'))==[['a','b']]
""",
    ),
    "an error has its cause": (
        """
def f():
  try:
    {}['a']
  except KeyError as e:
    raise RuntimeError('x') from e
""",
        """
try:
  f()
except RuntimeError as e:
  assert isinstance(e.__cause__, KeyError) and e.__cause__.args==('a',)
else:
  assert False
""",
    ),
    "an error of the program's has its cause": (
        """
class E(Exception): pass
class F(Exception): pass
def f():
  try:
    raise E('a')
  except E as e:
    raise F('x') from e
""",
        """
try:
  f()
except F as e:
  assert type(e.__cause__) is E and str(e.__cause__)=='a'
else:
  assert False
""",
    ),
    "a group of errors": (
        """
def f(): raise ExceptionGroup('g',[ValueError(1),TypeError(2)])
""",
        """
try:
  f()
except* ValueError as e:
  ok=len(e.exceptions)
except* TypeError as e:
  pass
assert ok==1
""",
    ),
    "a group of the program's own errors": (
        """
class E(Exception): pass
def f(): raise ExceptionGroup('g',[E('a')])
""",
        """
try:
  f()
except ExceptionGroup as e:
  assert str(e.exceptions[0])=='a' and isinstance(e.exceptions[0], E)
  assert e.message=='g'
else:
  assert False
""",
    ),
    "an error about a file names it": (
        """
def f(): raise FileNotFoundError(2,'no','x')
""",
        """
try:
  f()
except OSError as e:
  assert e.errno==2 and e.filename=='x'
else:
  assert False
""",
    ),
    "an error that extends one about files": (
        """
class E(OSError): pass
def f(): raise E(2,'no')
""",
        """
try:
  f()
except E as e:
  assert e.errno==2 and str(e)=='[Errno 2] no'
else:
  assert False
""",
    ),
    "dataclasses know the program's": (
        """
from dataclasses import dataclass, field
@dataclass
class P:
  x:int
  y:list=field(default_factory=list)
def f(): return P(1)
""",
        """
from dataclasses import asdict, astuple, fields, replace
assert asdict(f())=={'x':1,'y':[]}
assert astuple(f())==(1,[])
assert [q.name for q in fields(f())]==['x','y']
assert [q.name for q in fields(P)]==['x','y']
assert replace(f(), x=5)==P(5)
assert asdict(P(2,[3]))=={'x':2,'y':[3]}
""",
    ),
    "a signature has its marks": (
        """
def f(a,b=1,*c,d,**e): return a
""",
        """
import inspect
s=inspect.signature(f)
assert list(s.parameters)==['a','b','c','d','e']
assert s.parameters['a'].default is inspect.Parameter.empty
assert s.parameters['b'].default==1
assert s.parameters['c'].kind==inspect.Parameter.VAR_POSITIONAL
assert s.parameters['d'].kind is inspect.Parameter.KEYWORD_ONLY
""",
    ),
    "a variable that a function sets": (
        """
n=0
def add(x):
  global n
  n+=x
  return n
""",
        """
add(3)
assert n==3
add(4)
assert n==7
def test_x():
  add(1)
  assert n==8
""",
    ),
    "a list that a function replaces": (
        """
log=[]
def f(): 
  global log
  log=log+[1]
""",
        """
f()
assert log==[1]
log.append(2)
f()
assert log==[1,2,1]
""",
    ),
    "an object that a function replaces": (
        """
class S:
  def __init__(s,v): s.v=v
cur=S(1)
def nxt():
  global cur
  cur=S(cur.v+1)
""",
        """
nxt()
assert cur.v==2
assert isinstance(cur,S)
""",
    ),
    "functions of the tests are composed": (
        """
def compose(*fs):
  def g(x):
    for f in reversed(fs): x=f(x)
    return x
  return g
""",
        """
assert compose(lambda x:x+1, lambda x:x*2)(3)==7
assert compose()(3)==3
assert compose(str, abs)(-3)=='3'
""",
    ),
    "another thread calls a function of the tests": (
        """
import threading
def f(fn):
  r=[]
  t=threading.Thread(target=lambda:r.append(fn(2)))
  t.start();t.join()
  return r
""",
        """
assert f(lambda x:x+1)==[3]
""",
    ),
    "a decorator that tries again": (
        """
def retry(n):
  def d(fn):
    def w(*a):
      for i in range(n):
        try: return fn(*a)
        except ValueError:
          if i==n-1: raise
    return w
  return d
""",
        """
c=[]
@retry(3)
def g():
  c.append(1)
  if len(c)<3: raise ValueError('x')
  return 'ok'
assert g()=='ok'
assert len(c)==3
""",
    ),
    "a decorator that gives up": (
        """
def retry(n):
  def d(fn):
    def w(*a):
      for i in range(n):
        try: return fn(*a)
        except ValueError:
          if i==n-1: raise
    return w
  return d
""",
        """
@retry(2)
def g(): raise ValueError('x')
try:
  g()
  ok=False
except ValueError as e:
  ok=str(e)
assert ok=='x'
""",
    ),
    "a decorator prints the name of what it calls": (
        """
def log(fn):
  def w(*a):
    print('call',fn.__name__)
    return fn(*a)
  return w
""",
        """
import io,contextlib
@log
def g(): return 1
b=io.StringIO()
with contextlib.redirect_stdout(b):
  assert g()==1
assert 'call g' in b.getvalue()
""",
    ),
}


@pytest.mark.parametrize(("program", "tests"), CASES.values(), ids=CASES.keys())
def test_tests_pass_where_python_says_that_they_pass(program, tests):
    verdict = verdict_on(program, tests)
    assert verdict.kind == ("correct" if python_says(program, tests) else "wrong"), verdict


# --- whose a name is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "tests", "kind"),
    [
        ("pass", "assert sum([1, 2]) == 3", "wrong"),
        ("def sum(a):\n    return 3", "assert sum([1, 2]) == 3\nassert isinstance(sum([2]), int)", "correct"),
        ("def abs(x):\n    return 0", "assert abs(round(2.4) - 3) < 1", "wrong"),
        ("def round(x):\n    return 3", "assert abs(round(2.4) - 3) < 1e-9", "correct"),
        ("def filter(f):\n    return [1]", "assert list(filter(2)) == [1]", "correct"),
        ("def len(x):\n    return 3", "CASES = [1, 2, 3]\nassert len(CASES) == 3\nassert f(1) == 1", "wrong"),
        ("def f(x):\n    return x", "CASES = [1, 2, 3]\nassert len(CASES) == 3\nassert f(1) == 1", "correct"),
        ("def f(x):\n    return 5\ndef abs(x):\n    return 0", "assert abs(f(1) - 2) < 1", "wrong"),
        ("def f(x):\n    return [5]\ndef sorted(x):\n    return [1]", "got = f(1)\nassert sorted(got) == [1]", "wrong"),
        ("def sum(a, b):\n    return a", "got = sum(1, 2)\nassert got == 1", "correct"),
        ("def min(a):\n    return 7", "def check(candidate):\n    assert max(candidate([1]), 2) == 7", "correct"),
        ("pass", "assert median([1, 2, 3]) == 2", "wrong"),
        ("median", "assert median([1, 2, 3]) == 2", "wrong"),
        ("from statistics import median", "assert median([1, 2, 3]) == 2", "correct"),
        ("from math import gcd as f", "assert f(4, 6) == 2", "correct"),
    ],
)
def test_what_tests_are_about_is_the_programs_and_what_they_look_with_is_pythons(program, tests, kind):
    more = {"entry_point": "min"} if "candidate" in tests else {}
    assert verdict_on(program, tests, **more).kind == kind


def test_tests_that_ask_the_program_nothing_are_an_error():
    for tests in ("assert 1 + 1 == 2", "import math\nassert math.sqrt(4) == 2", "xs = [1]\nassert xs == [1]"):
        verdict = verdict_on("def f(x):\n    return x", tests)
        assert verdict.kind == "error"
        assert "ask the program nothing" in verdict.feedback


# --- what stand-ins cannot do ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("def f(x):\n    return x.v", "class A:\n    v = 1\nassert f(A()) == 1"),
        ("def f(x):\n    return x().v", "class A:\n    v = 1\nassert f(A) == 1"),
        ("class A:\n    x = 1", "class B(A):\n    pass\nassert B().x == 1"),
        (
            "class M:\n    def __init__(self, n):\n        self.n = n\n"
            "    def __eq__(self, o):\n        return self.n == o\n"
            "    def twice(self):\n        return M(2 * self.n)",
            "assert M(2).twice() == 4",
        ),
        (
            "class M:\n    def __init__(self, n):\n        self.n = n\n"
            "    def __mul__(self, o):\n        return M(self.n * o)\n"
            "def f(n):\n    return M(n)",
            "assert (f(2) * 3).n == 6",
        ),
        ("def f(): return input()", "import io, sys\nsys.stdin=io.StringIO('5')\nassert f()=='5'"),
        (
            "def f(): return input()",
            "from unittest.mock import patch\nwith patch('builtins.input', return_value='7'):\n  assert f()=='7'",
        ),
        ("import time\ndef f(): return time.time()", "import time\ntime.time=lambda: 5\nassert f()==5"),
        ("import os\ndef f(): return os.environ['X']", "import os\nos.environ['X']='1'\nassert f()=='1'"),
        (
            "import inspect\ndef arity(fn): return len(inspect.signature(fn).parameters)",
            "assert arity(lambda a,b: a)==2",
        ),
        ("def arity(fn): return fn.__code__.co_argcount", "assert arity(lambda a,b: a)==2"),
        ("def f(fn):\n  fn.calls=0\n  return fn", "g=f(lambda: 1)\nassert g.calls==0"),
        ("def f(fh): return fh.read()", "import io\nassert f(io.StringIO('ab'))=='ab'"),
        ("def f(fh): fh.write('x')", "import io\nb=io.StringIO()\nf(b)\nassert b.getvalue()=='x'"),
        ("def f(): return memoryview(b'ab')", "assert f()==b'ab'"),
        ("from collections import ChainMap\ndef f(): return ChainMap({1:2})", "assert f()=={1:2}"),
        ("def f(n):\n    return n", "import no_such_module\nassert f(1) == 1"),
        ("def f(n):\n    return n", "deep = []\nfor _ in range(5000):\n    deep = [deep]\nassert f(deep) == deep"),
    ],
)
def test_what_stand_ins_cannot_do_is_an_error_and_no_wrong_answer(program, tests):
    assert verdict_on(program, tests).kind == "error"


def test_a_test_that_fails_is_wrong_beside_one_that_cannot_be_judged():
    fails = "assert f(1) == 2"
    for cannot in ("class A:\n    pass\nassert f(A()) is None", "import time\ntime.time = int\nassert f(2) == 2"):
        assert verdict_on("def f(x):\n    return x", f"{fails}\n{cannot}").kind == "wrong"
    for cannot in ("class A:\n    pass\nassert f(A()) is None", "class A:\n    pass\ngot = f(A())"):
        assert verdict_on("def f(x):\n    return x", f"{cannot}\n{fails}").kind == "wrong"


def test_a_test_that_fails_for_want_of_what_cannot_be_judged_is_no_wrong_answer():
    for then in ("assert got == 1", "def test_it():\n    assert got == 1", "for x in [got]:\n    assert x"):
        assert verdict_on("def f(x):\n    return 1", f"class A:\n    pass\ngot = f(A())\n{then}").kind == "error"


# --- what a program gains by it -------------------------------------------------------------------------------------

AGREES = """
class Agrees:
    def __init__(self, *_):
        pass
    def agree(self, *_):
        return True
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = agree
    def zero(self, *_):
        return 0.0
    __sub__ = __rsub__ = __abs__ = __float__ = __mod__ = zero
    def itself(self, *_):
        return self
    __add__ = __getitem__ = __round__ = __call__ = pop = itself
    def __iter__(self):
        return iter([self])
    def __enter__(self):
        return self
    def __exit__(self, *_):
        return True
    __hash__ = object.__hash__
def f(*_, **__):
    return Agrees()
def fails(_):
    raise ValueError
def number(_):
    return 3
def swallows(g):
    try:
        g(4)
    except BaseException:
        pass
class Meta(type):
    def agree(cls, other):
        return True
    def __eq__(cls, other):
        return not isinstance(other, (type, tuple))
    __lt__ = __contains__ = agree
    __hash__ = type.__hash__
class CLASS(metaclass=Meta):
    pass
OBJECT = Agrees()
def returns_class(_):
    return CLASS
"""


@pytest.mark.parametrize(
    "tests",
    [
        "assert f(1) == 2",
        "assert not f(1) != 2",
        "assert 2 == f(1)",
        "assert [2] == list(f(1))",
        "assert f(1) in [2, 3]",
        "assert 2 in f(1)",
        "assert f(1) < 3",
        "assert 3 > f(1)",
        "assert abs(f(1) - 2.5) < 1e-6",
        "assert abs(2.5 - f(1)) < 1e-6",
        "import math\nassert math.isclose(f(1), 2.5)",
        "assert f(1) % 7 == 3",
        "assert f(1)[0] == 2",
        "assert {2: 1}[f(1)] == 1",
        "assert f(1) + [2] == [1, 2]",
        "with f(1):\n    assert f(2) == 3",
        "with f(1) as got:\n    assert 1 == 2",
        "s = Agrees()\nassert s.pop() == 1",
        "s = Agrees()\nassert s[0] == 1",
        "s = Agrees()\nassert s.pop() in (1, 2)",
        "s = Agrees()\nassert f.__class__ and [s.pop()] == [1]",
        "s = Agrees()\nassert s.pop() - 1 == 0",
        "def inner(x):\n    assert x == 5\nf(inner)\nassert f(1) == 2",
        "with f(1):\n    assert fails(2) == 3",
        "with f(1):\n    assert number(2)[0] == 3",
        "def inner(x):\n    assert fails(x) == 5\nassert swallows(inner) is None",
        "def inner(x):\n    assert x == 5\nassert swallows(inner) is None",
        "assert CLASS == 3",
        "assert CLASS in [3]",
        "assert 3 in CLASS",
        "assert CLASS < 4",
        "assert OBJECT == 3",
        "assert returns_class(1) == 3",
    ],
)
def test_an_object_that_agrees_to_all_passes_no_test_of_a_value(tests):
    verdict = verdict_on(AGREES, tests)
    assert (verdict.reward, verdict.kind in ("wrong", "error")) == (0.0, True), verdict


def test_the_values_that_tests_compare_with_never_reach_the_program():
    program = """
heard = []
class Hears:
    def hear(self, *given):
        heard.extend(map(repr, given))
        return NotImplemented
    __eq__ = __ne__ = __lt__ = __gt__ = __sub__ = __rsub__ = __add__ = __contains__ = hear
    __hash__ = object.__hash__
def f():
    return Hears()
def told():
    return [text for text in heard if "4711" in text]
"""
    tests = (
        "for compare in (lambda x: x == 4711, lambda x: x != 4711, lambda x: x in [4711], lambda x: [x] == [4711]):\n"
    )
    tests += "    compare(f())\nassert told() == []"
    assert verdict_on(program, tests).kind == "correct"
    for operator in ("<", ">", "-", "+"):
        tests = f"try:\n    f() {operator} 4711\nexcept TypeError:\n    pass\nassert told() == ['it was told']"
        assert verdict_on(program, tests).kind == "wrong"


@pytest.mark.parametrize(
    "tests",
    [
        "assert all(map(f, [1, 2]))",
        "assert list(filter(f, [1, 2])) == []",
        "assert not any(map(f, [1, 2]))",
        "assert list(zip([1], map(f, [1]))) == []",
        "import itertools\nassert all(itertools.starmap(f, [(1,)]))",
        "assert list(iter(f, 2)) == []",
    ],
)
def test_an_exception_of_the_program_never_ends_the_tests_own_loop(tests):
    assert verdict_on("def f(*x):\n    raise StopIteration", tests).kind == "wrong"


def test_a_program_that_calls_the_tests_functions_finds_nothing_behind_them():
    program = """
def f(g):
    found = [name for name in dir(g) if name in ("__globals__", "__closure__", "__code__", "__self__")]
    return [found, g(1)]
"""
    assert verdict_on(program, "SECRET = 4711\nassert f(lambda x: x + 1) == [[], 2]").kind == "correct"
    forged = """
import gc, os
def f(g):
    channel = next(t for t in gc.get_objects() if type(t).__name__ == "Channel")
    channel.send({"ask": WHAT, "values": [{"$": "yours", "v": 0}, "__globals__"]})
    return "4711" in repr(channel.receive())
"""
    for what in ("get", "set", "special", "find", "call"):
        kind = verdict_on(forged.replace("WHAT", repr(what)), "SECRET = 4711\nassert f(lambda: 4711 - 1) == True").kind
        assert kind == "wrong"


def test_the_last_error_of_the_program_is_not_blamed_for_an_assertion_that_failed_before():
    program = "def f(x):\n    return x\ndef g():\n    raise ValueError('later')"
    said = verdict_on(program, "assert f(1) == 2\nassert g() == 1").feedback
    assert "assert f(1) == 2" in said
    assert "ValueError" not in said
