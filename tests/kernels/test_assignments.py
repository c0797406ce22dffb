"""No compiled function assigns an array to a part of another: each would compile 70 functions of an error message."""

import ast
import inspect
from pathlib import Path

import numba
import numpy as np
import pytest

PACKAGE = Path(__file__).parent.parent.parent / "dnmf"
COMPILED = {"kernel", "reordered", "overload"}


def place_in(node):
    """Return the name of an array that is indexed, and the indices, or None."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return node.value.id, node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return None


def array_assignments(function):
    """Yield the assignments of arrays to parts of arrays in the source of a function, as far as it shows them.

    An array has at least as many axes as it has indices anywhere in the function. What a part gets is a number only if
    it is one in the source, or a name that is bound to the number of a type.
    """
    axes, numbers, targets = {}, set(), []
    for node in ast.walk(function):
        if (found := place_in(node)) is not None:
            axes[found[0]] = max(axes.get(found[0], 0), len(found[1]))
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs += zip(node.targets[0].elts, node.value.elts, strict=True)
            numbers |= {target.id for target, value in pairs if isinstance(target, ast.Name) and is_number(value)}
            targets += pairs
        elif isinstance(node, ast.AugAssign):
            targets.append((node.target, node))

    def is_part(node):
        """Whether an expression is an array, or a part of one with axes of its own."""
        if isinstance(node, ast.Name):
            return node.id in axes and node.id not in numbers
        found = place_in(node)
        return found is not None and (
            len(found[1]) < axes[found[0]] or any(isinstance(index, ast.Slice) for index in found[1])
        )

    for target, value in targets:
        if not isinstance(target, ast.Subscript):
            continue
        single = is_number(value) or (isinstance(value, ast.Name) and value.id in numbers)
        if is_part(value) or (is_part(target) and not single):
            yield ast.unparse(target), target.lineno


def is_number(value):
    """Whether an expression is a number: a constant, or one of the dtype of an array, as `X.dtype.type(0)`."""
    if isinstance(value, ast.UnaryOp):
        return is_number(value.operand)
    if isinstance(value, ast.IfExp):
        return is_number(value.body) and is_number(value.orelse)
    if isinstance(value, ast.Call):
        called = ast.unparse(value.func)
        return len(value.args) == 1 and is_number(value.args[0]) and (called.endswith(".type") or called == "dtype")
    return isinstance(value, ast.Constant)


def compiled_functions():
    """Yield the path and the source of every function of the package that is compiled."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                names = {ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list}
                if names & COMPILED:
                    yield path.relative_to(PACKAGE), node


def test_no_compiled_function_assigns_an_array_to_a_part_of_another():
    functions = list(compiled_functions())
    assert len(functions) > 150
    found = [
        f"{path}:{line} assigns an array to {part}; assign its entries in a loop"
        for path, function in functions
        for part, line in array_assignments(function)
    ]
    assert found == []


def whole(a, b):
    a[:] = b


def first_part(a, b):
    a[: len(b) - 1] = b[1:]


def row(a, b):
    A = a.reshape(1, len(a))
    A[0] = b
    A[0, 0] = b[0]


def row_by_name(a, b):
    A, c = a.reshape(1, len(a)), b
    A[0] = c
    return A[0, 0] + c[0]


def two_at_once(a, b):
    c = np.zeros(len(b))
    a[:], c[:] = b, b


def sum_of_arrays(a, b):
    a[:] = b + 1.0


def in_place(a, b):
    a[:] += b


def by_entries(a, b):
    for k in range(len(a)):
        a[k] = b[k]


def constants(a, b):
    A, zero = a.reshape(1, len(a)), a.dtype.type(0)
    A[0] = 1.0 if b[0] > 0.0 else 2.0
    a[: len(b) - 1] = zero
    a[0] = b[1] + A[0, 1]


def compiles_the_message(function):
    """Whether the machine code of a function has the error message of an assignment of arrays."""
    made = numba.njit(function)
    made.compile("(float64[::1], float64[::1])")
    [code] = made.inspect_llvm().values()
    return "cannot assign slice" in code


@pytest.mark.parametrize("function", [whole, first_part, row, row_by_name, two_at_once, sum_of_arrays, in_place])
def test_the_check_refuses_what_compiles_the_error_message(function):
    assert compiles_the_message(function)
    assert list(array_assignments(ast.parse(inspect.getsource(function)).body[0]))


@pytest.mark.parametrize("function", [by_entries, constants])
def test_the_check_admits_what_compiles_no_error_message(function):
    assert not compiles_the_message(function)
    assert not list(array_assignments(ast.parse(inspect.getsource(function)).body[0]))
