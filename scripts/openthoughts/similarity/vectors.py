"""Vector operations that Numba has no name for, written in LLVM's intermediate representation.

LLVM lowers them for whatever processor compiles them. One instruction is asked for by name, that which looks words up
in a table held in a register (AVX-512 or AVX2); it has a portable spelling for other processors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from openthoughts.similarity.alphabet import BANDS, SEGMENT

LANES = 64
"""Texts compared at once by their bags of characters."""

PACK = 16
"""Pairs whose longest common subsequence is computed at once."""

WORD = 32
"""Symbols of a text in one word of its bit pattern."""

CODES = 8
"""Codes of 4 bits in one word of a packed string."""

_I64 = ir.IntType(64)
_WORDS = ir.VectorType(ir.IntType(WORD), PACK)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, element: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    start = builder.gep(data, [offset])
    return builder.bitcast(start, element.as_pointer())


def _call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _load(builder: Any, pointer: Any, index: Any) -> Any:
    value = builder.load(builder.gep(pointer, [index]))
    value.align = 1
    return value


def _store(builder: Any, value: Any, pointer: Any) -> None:
    builder.store(value, pointer).align = 1


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    kind = ir.VectorType(value.type, lanes)
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), mask)


@intrinsic
def bag_test(  # type: ignore[no-untyped-def]
    typing_context, counts, row, tiles, tile, order, budget, surplus
):
    """Bit mask of the texts of a tile whose bag of characters lacks at most ``budget`` symbols of one text's.

    ``counts[row:row + 64]`` are the text's counts by slot, ``tiles[tile:tile + 4096]`` those of 64 texts, slot by slot,
    of the same unsigned type. Bands are summed in the given ``order`` until no text is left. Where the mask is not 0,
    ``surplus[64 * k:64 * k + 64]`` gets the sums (saturated) over the first k + 1 bands.
    """
    width = counts.dtype.bitwidth

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = ir.IntType(width)
        vector = ir.VectorType(element, LANES)
        suffix = f"v{LANES}i{width}"
        kinds = signature.args
        own = _pointer(context, builder, kinds[0], arguments[0], arguments[1], element)
        others = _pointer(context, builder, kinds[2], arguments[2], arguments[3], vector)
        bands = context.make_array(kinds[4])(context, builder, arguments[4]).data
        limit = _splat(builder, builder.trunc(arguments[5], element), LANES)
        out = _pointer(context, builder, kinds[6], arguments[6], ir.Constant(_I64, 0), vector)

        done = builder.append_basic_block("bag_done")
        total = ir.Constant(vector, [0] * LANES)
        totals = []
        result = builder.alloca(_I64)
        for position in range(BANDS):
            band = builder.load(builder.gep(bands, [ir.Constant(_I64, position)]))
            first = builder.mul(band, ir.Constant(_I64, SEGMENT))
            for code in range(1, SEGMENT):
                slot = builder.add(first, ir.Constant(_I64, code))
                count = _splat(builder, _load(builder, own, slot), LANES)
                excess = _call(builder, f"llvm.usub.sat.{suffix}", vector, [count, _load(builder, others, slot)])
                total = _call(builder, f"llvm.uadd.sat.{suffix}", vector, [total, excess])
            totals.append(total)
            mask = builder.bitcast(builder.icmp_unsigned("<=", total, limit), _I64)
            builder.store(mask, result)
            following = builder.append_basic_block(f"bag_{position + 1}")
            builder.cbranch(builder.icmp_unsigned("==", mask, ir.Constant(_I64, 0)), done, following)
            builder.position_at_end(following)
        for position, total in enumerate(totals):
            _store(builder, total, builder.gep(out, [ir.Constant(_I64, position)]))
        builder.branch(done)
        builder.position_at_end(done)
        return builder.load(result)

    return types.uint64(counts, row, tiles, tile, order, budget, surplus), generate


def _features() -> Mapping[str, bool]:
    """Features of the processor that is compiled for; none where Numba was told to compile for another one."""
    settings: Any = config
    if settings.CPU_NAME or settings.CPU_FEATURES:
        return {}
    features: Mapping[str, bool] = binding.get_host_cpu_features()
    return features


def lookup_instruction(features: Mapping[str, bool]) -> str:
    """The way to look 16 words up in a table of 16 that a processor of these features has."""
    if features.get("avx512f"):
        return "avx512"
    return "avx2" if features.get("avx2") else "portable"


def _lookup(builder: Any, table: Any, chunk: Any, instruction: str) -> Any:
    """Words of a 16-word ``table`` at the low 4 bits of every lane of ``chunk``."""
    if instruction == "avx512":
        words = _load(builder, builder.bitcast(table, _WORDS.as_pointer()), ir.Constant(_I64, 0))
        return _call(builder, "llvm.x86.avx512.permvar.si.512", _WORDS, [words, chunk])
    if instruction == "avx2":
        return _lookup_in_halves(builder, table, chunk)
    index = builder.and_(chunk, ir.Constant(_WORDS, [SEGMENT - 1] * PACK))
    words = ir.Constant(_WORDS, ir.Undefined)
    for lane in range(PACK):
        position = ir.Constant(ir.IntType(32), lane)
        word = builder.load(builder.gep(table, [builder.extract_element(index, position)]))
        words = builder.insert_element(words, word, position)
    return words


def _lookup_in_halves(builder: Any, table: Any, chunk: Any) -> Any:
    """``_lookup`` with AVX2, which looks 8 words up in a table of 8: bit 3 of the code chooses between two of them."""
    half = PACK // 2
    kind = ir.VectorType(ir.IntType(WORD), half)
    pointer = builder.bitcast(table, kind.as_pointer())
    tables = [_load(builder, pointer, ir.Constant(_I64, part)) for part in range(2)]
    undefined = ir.Constant(_WORDS, ir.Undefined)
    found = []
    for first in (0, half):
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(first, first + half)))
        codes = builder.shuffle_vector(chunk, undefined, lanes)
        low, high = (_call(builder, "llvm.x86.avx2.permd", kind, [words, codes]) for words in tables)
        bit = builder.and_(codes, ir.Constant(kind, [half] * half))
        found.append(builder.select(builder.icmp_unsigned("==", bit, ir.Constant(kind, [0] * half)), low, high))
    both = ir.Constant(ir.VectorType(ir.IntType(32), PACK), list(range(PACK)))
    return builder.shuffle_vector(found[0], found[1], both)


def _step(builder: Any, state: list[Any], masks: list[Any], carry: Any = None) -> tuple[list[Any], Any]:
    """One symbol of the bit-parallel LCS (Hyyrö 2004): V = (V + (V & M)) | (V & ~M), with carries between words.

    Since V & M is a part of V, the sum carries out of the top bit where V & M has it, or V has it and the sum has not.
    """
    top = ir.Constant(_WORDS, [WORD - 1] * PACK)
    result = []
    for word, mask in zip(state, masks, strict=True):
        common = builder.and_(word, mask)
        total = builder.add(word, common)
        if carry is not None:
            total = builder.add(total, carry)
        carry = builder.lshr(builder.or_(common, builder.and_(word, builder.not_(total))), top)
        result.append(builder.or_(total, builder.and_(word, builder.not_(mask))))
    return result, carry


def make_lcs(words: int, instruction: str) -> Any:
    """The operation described below for texts of ``words`` words."""

    @intrinsic
    def lcs(typing_context, table, first_word, stream, chunks, carries, out):  # type: ignore[no-untyped-def]
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds = signature.args
            zero = ir.Constant(_I64, 0)
            data = context.make_array(kinds[0])(context, builder, arguments[0]).data
            masks = builder.gep(data, [builder.mul(arguments[1], ir.Constant(_I64, SEGMENT))])
            tables = [builder.gep(masks, [ir.Constant(_I64, SEGMENT * w)]) for w in range(words)]
            symbols = _pointer(context, builder, kinds[2], arguments[2], zero, _WORDS)
            carried = _pointer(context, builder, kinds[4], arguments[4], zero, _WORDS) if words == STRIP else None
            result = _pointer(context, builder, kinds[5], arguments[5], zero, _WORDS)

            before = builder.block
            head = builder.append_basic_block("lcs_head")
            body = builder.append_basic_block("lcs_body")
            done = builder.append_basic_block("lcs_done")
            builder.branch(head)
            builder.position_at_end(head)
            index = builder.phi(_I64)
            state = [builder.phi(_WORDS) for _ in range(words)]
            index.add_incoming(zero, before)
            for word in state:
                word.add_incoming(ir.Constant(_WORDS, [-1] * PACK), before)
            builder.cbranch(builder.icmp_signed("<", index, arguments[3]), body, done)

            builder.position_at_end(body)
            chunk = _load(builder, symbols, index)
            current = list(state)
            for position in range(CODES):
                if position:
                    chunk = builder.lshr(chunk, ir.Constant(_WORDS, [4] * PACK))
                found = [_lookup(builder, table, chunk, instruction) for table in tables]
                if carried is None:
                    current, _ = _step(builder, current, found)
                else:
                    place = builder.add(builder.mul(index, ir.Constant(_I64, CODES)), ir.Constant(_I64, position))
                    current, carry = _step(builder, current, found, _load(builder, carried, place))
                    _store(builder, carry, builder.gep(carried, [place]))
            index.add_incoming(builder.add(index, ir.Constant(_I64, 1)), body)
            for word, value in zip(state, current, strict=True):
                word.add_incoming(value, body)
            builder.branch(head)

            builder.position_at_end(done)
            total = _load(builder, result, zero)
            for word in state:
                count = _call(builder, f"llvm.ctpop.v{PACK}i{WORD}", _WORDS, [builder.not_(word)])
                total = builder.add(total, count)
            _store(builder, total, result)
            return context.get_dummy_value()

        return types.void(table, first_word, stream, chunks, carries, out), generate

    return lcs


STRIP = 8
"""Words of a text that are held in registers; a longer text is done in strips of them, one after the other."""

_INSTRUCTION = lookup_instruction(_features())

lcs_1, lcs_2, lcs_3, lcs_4, lcs_5, lcs_6, lcs_7, lcs_strip = (
    make_lcs(words, _INSTRUCTION) for words in range(1, STRIP + 1)
)
"""Add the LCS lengths of (a part of) one text with 16 others to ``out[0:16]``.

``table[16 * w + code]``, w from ``first_word`` on, has bit i set where symbol 32 w + i of the text is ``code``.
``stream[16 * c + lane]`` holds 8 codes of 4 bits of another text, first symbol lowest, padded with code 0, in
``chunks`` such rows. ``lcs_1`` to ``lcs_7`` do a whole text of that many words. ``lcs_strip`` does 8 words of a longer
one: the carries into them, a row of 16 for each of the 8 * ``chunks`` symbols, are read from ``carries`` and replaced
by the carries out of them.
"""


@intrinsic
def lowest_bit(typing_context, mask):  # type: ignore[no-untyped-def]
    """Position of the lowest set bit of a 64-bit mask that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def peek(typing_context, array, index):  # type: ignore[no-untyped-def]
    """``array[index]`` for an index that is known to be inside: no wrapping of negative ones."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load(builder.gep(data, [arguments[1]]))

    return array.dtype(array, types.int64), generate


@intrinsic
def poke(typing_context, array, index, value):  # type: ignore[no-untyped-def]
    """``array[index] = value`` for an index that is known to be inside, and one store at a time.

    The store is a relaxed atomic one, which keeps LLVM from turning loops of strided stores into vector scatters; those
    take longer than what they replace.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(data, [arguments[1]])
        builder.store_atomic(arguments[2], place, ordering="monotonic", align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), generate
