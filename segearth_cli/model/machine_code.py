"""Functions of machine code for this CPU, written as vectors and loops; LLVM, by llvmlite, compiles them."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

WIDE = bool(llvm.get_host_cpu_features().get("avx512f"))  # 32 registers of 16 numbers
LANES = 16 if WIDE else 8

_FLOAT, _INT, _LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)


def _vector(lanes):
    return ir.VectorType(_FLOAT, lanes)


def vector(value, lanes):
    """A number that is known, in every lane."""
    return ir.Constant(_vector(lanes), [value] * lanes)


class Writer:
    """A function of machine code while it is written: arithmetic of vectors, memory by the name of an argument.

    Offsets are in numbers; what stands side by side is added up. Integers of Python are constants.
    """

    def __init__(self, module, name, arrays, indices, sizes):
        """Arguments: `arrays` of floats, `indices` of integers, `sizes` that are integers."""
        kinds = [_FLOAT.as_pointer()] * len(arrays) + [_LONG.as_pointer()] * len(indices) + [_LONG] * len(sizes)
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
        self._builder = ir.IRBuilder(function.append_basic_block())
        self._named = dict(zip((*arrays, *indices, *sizes), function.args, strict=True))
        self.sizes = [self._named[size] for size in sizes]

    @property
    def one(self):
        """The number 1."""
        return ir.Constant(_FLOAT, 1.0)

    def end(self):
        """Ends the function."""
        self._builder.ret_void()

    # integers

    def index(self, value):
        """An integer of machine code."""
        return ir.Constant(_LONG, value) if isinstance(value, int) else value

    def plus(self, *values):
        """The sum of integers."""
        return functools.reduce(self._builder.add, map(self.index, values))

    def times(self, *values):
        """The product of integers."""
        return functools.reduce(self._builder.mul, map(self.index, values))

    def least(self, one, other):
        """The smaller of two integers."""
        one, other = self.index(one), self.index(other)
        return self._builder.select(self._builder.icmp_signed("<", one, other), one, other)

    def most(self, one, other):
        """The larger of two integers."""
        one, other = self.index(one), self.index(other)
        return self._builder.select(self._builder.icmp_signed("<", one, other), other, one)

    @contextmanager
    def each(self, start, end, step=1):
        """A loop over start, start + step, ... below end."""
        start, end, builder = self.index(start), self.index(end), self._builder
        before = builder.block
        head, body, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        at = builder.phi(_LONG)
        at.add_incoming(start, before)
        builder.cbranch(builder.icmp_signed("<", at, end), body, after)
        builder.position_at_end(body)
        yield at
        at.add_incoming(builder.add(at, self.index(step)), builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    # memory

    def _place(self, array, offsets, lanes=None):
        place = self._builder.gep(self._named[array], [self.plus(0, *offsets)])
        return place if lanes is None else self._builder.bitcast(place, _vector(lanes).as_pointer())

    def number(self, array, *offsets):
        """One number of an array."""
        return self._builder.load(self._place(array, offsets))

    def load(self, lanes, array, *offsets):
        """So many numbers of an array."""
        return self._builder.load(self._place(array, offsets, lanes), align=4)

    def store(self, value, array, *offsets):
        """A vector or a number."""
        lanes = value.type.count if isinstance(value.type, ir.VectorType) else None
        self._builder.store(value, self._place(array, offsets, lanes), align=4)

    # vectors

    def variable(self, lanes, value=None):
        """A vector that loops may change, zero at first."""
        with self._builder.goto_entry_block():
            made = self._builder.alloca(_vector(lanes))
        self.set(made, vector(0.0, lanes) if value is None else value)
        return made

    def set(self, variable, value):
        """Gives a variable another value."""
        self._builder.store(value, variable)

    def get(self, variable):
        """The value of a variable."""
        return self._builder.load(variable)

    def shuffled(self, one, other, places):
        """Numbers of two vectors, by their places in both side by side."""
        return self._builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_INT, len(places)), places))

    def spread(self, number, lanes):
        """A number in every lane."""
        blank = ir.Constant(_vector(lanes), ir.Undefined)
        first = self._builder.insert_element(blank, number, ir.Constant(_INT, 0))
        return self.shuffled(first, blank, [0] * lanes)

    def fma(self, x, y, plus):
        """x y + plus, rounded once."""
        kind = ir.FunctionType(x.type, [x.type] * 3)
        name, module = f"llvm.fma.v{x.type.count}f32", self._builder.module
        known = module.globals.get(name) or ir.Function(module, kind, name)
        return self._builder.call(known, [x, y, plus])

    def add(self, x, y):
        """x + y."""
        return self._builder.fadd(x, y)

    def sub(self, x, y):
        """x - y."""
        return self._builder.fsub(x, y)

    def mul(self, x, y):
        """x y."""
        return self._builder.fmul(x, y)

    def div(self, x, y):
        """x / y."""
        return self._builder.fdiv(x, y)

    def greater(self, x, y, one, other):
        """One where x > y, else the other."""
        return self._builder.select(self._builder.fcmp_ordered(">", x, y), one, other)

    def exp(self, x):
        """e to the power of x <= 0, within two units of the last place; below -87 that of -87. NaN stays."""
        lanes = x.type.count

        def fixed(value):
            return vector(value, lanes)

        x = self.greater(fixed(-87.0), x, fixed(-87.0), x)
        # 12582912 = 1.5 * 2^23: the last bits are the exponent
        shifted = self.fma(x, fixed(1.4426950408889634), fixed(12582912.0))
        whole = self.sub(shifted, fixed(12582912.0))
        rest = self.fma(whole, fixed(-0.693359375), x)  # log 2 in two parts
        rest = self.fma(whole, fixed(2.12194440e-4), rest)
        series = fixed(1.9875691500e-4)  # Cephes' expf
        for factor in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
            series = self.fma(series, rest, fixed(factor))
        power = self.add(self.fma(series, self.mul(rest, rest), rest), fixed(1.0))
        ints = ir.VectorType(_INT, lanes)
        exponent = self._builder.add(self._builder.bitcast(shifted, ints), ir.Constant(ints, [127] * lanes))
        scale = self._builder.shl(exponent, ir.Constant(ints, [23] * lanes))
        return self.mul(power, self._builder.bitcast(scale, x.type))

    def gelu(self, x):
        """x times the normal distribution at x, within 1e-7 |x|: Abramowitz and Stegun, 7.1.26. NaN stays."""
        lanes = x.type.count

        def fixed(value):
            return vector(value, lanes)

        negative = self.sub(fixed(-0.0), x)
        size, positive = (self.greater(x, fixed(0.0), x, other) for other in (negative, fixed(0.0)))
        near = self.div(fixed(1.0), self.fma(size, fixed(0.3275911 / math.sqrt(2)), fixed(1.0)))
        series = fixed(1.061405429 / 2)
        for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
            series = self.fma(series, near, fixed(factor / 2))
        power = self.exp(self.mul(self.mul(size, size), fixed(-0.5)))
        tail = self.mul(self.mul(series, near), power)  # the distribution at -|x|
        return self.fma(self.sub(fixed(-0.0), size), tail, positive)


def machine_code(writes: Sequence[Callable[[Any], None]]) -> tuple[list[Callable[..., None]], Any]:
    """Functions for this CPU, each written to a module of LLVM by one of `writes`, and what holds their code."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    module = ir.Module("segearth")
    for write in writes:
        write(module)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes.getModulePassManager().run(parsed, passes)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    return [_called(engine, made) for made in module.functions if not made.is_declaration], engine


def _called(engine: Any, function: Any) -> Callable[..., None]:
    """A function of Python that calls one of machine code; others run meanwhile."""
    kinds = [ctypes.c_void_p if isinstance(kind, ir.PointerType) else ctypes.c_int64 for kind in function.ftype.args]
    code = ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(function.name))

    def call(*arguments: Any) -> None:
        if not all(isinstance(one, int) or one.is_contiguous() for one in arguments):
            raise ValueError("kernels take contiguous tensors")
        code(*(one if isinstance(one, int) else one.data_ptr() for one in arguments))

    return call
