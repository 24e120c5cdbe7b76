"""Exporters write some functions as several nodes; here they become one step again, as a model in torch calls them."""

from .build import Constant, Step, Steps


def number_of(step: Step) -> tuple[str, float] | None:
    """Return activation and factor of a step that multiplies by a constant of one element."""
    if step.op not in ("Mul", "Div") or len(step.operands) != 2:
        return None
    first, second = step.operands
    if isinstance(first, Constant) and isinstance(second, str) and step.op == "Mul":
        first, second = second, first
    if not isinstance(first, str) or not isinstance(second, Constant) or second.value.numel() != 1:
        return None
    value = float(second.value.item())
    return first, value if step.op == "Mul" else 1 / value


def join(steps: Steps) -> Steps:
    """Return the steps with SiLU, hard swish and GELU whole, and scales of a product's operands applied to its result."""
    producer = {name: step for step in steps.calls for name in step.outputs}
    readers: dict[str, int] = dict.fromkeys(steps.outputs, 1)
    for step in steps.calls:
        for each in step.operands:
            if isinstance(each, str):
                readers[each] = readers.get(each, 0) + 1
    gone: set[int] = set()

    def made(name: object, op: str) -> Step | None:
        """Return the step that writes a tensor with a single reader, if it is of this kind."""
        found = producer.get(name) if isinstance(name, str) and readers.get(name) == 1 else None
        return found if found is not None and found.op == op else None

    calls: list[Step] = []
    for step in steps.calls:
        calls.append(step)
        if step.op == "Mul":
            join_product_with_itself(step, made, gone)
            join_gelu(step, made, readers, gone)
        elif step.op == "MatMul":
            factor = 1.0
            for i, each in enumerate(step.operands):
                before = made(each, "Mul") or made(each, "Div")
                scaled = number_of(before) if before is not None else None
                if before is not None and scaled is not None:
                    step.operands[i], factor = scaled[0], factor * scaled[1]
                    gone.add(id(before))
            if factor != 1:
                import torch

                (result,), inner = step.outputs, f"{step.outputs[0]}.unscaled"
                step.outputs = [inner]
                scale = Constant(torch.tensor(factor), f"{inner}.scale")
                calls.append(Step("Mul", f"{step.name}.scale", [inner, scale], {}, [result]))
    return Steps([step for step in calls if id(step) not in gone], steps.inputs, steps.outputs)


def join_product_with_itself(step: Step, made, gone: set[int]) -> None:  # type: ignore[no-untyped-def]
    """x sigmoid(x) is SiLU, x hardsigmoid(x) hard swish."""
    for x, other in (step.operands, reversed(step.operands)):
        for op, whole in (("Sigmoid", "Silu"), ("HardSigmoid", "HardSwish")):
            gate = made(other, op)
            if gate is None or gate.operands[0] != x or (op == "HardSigmoid" and abs(gate.attributes.get("alpha", 0.2) - 1 / 6) > 1e-6):
                continue
            step.op, step.operands = whole, [x]
            gone.add(id(gate))
            return


def join_gelu(step: Step, made, readers: dict[str, int], gone: set[int]) -> None:  # type: ignore[no-untyped-def]
    """x (1 + erf(x / sqrt(2))) / 2, with the half on the product or on x."""
    half = number_of(step)
    product = made(half[0], "Mul") if half is not None and abs(half[1] - 0.5) < 1e-6 else None
    if product is None:
        return
    for x, other in (product.operands, reversed(product.operands)):
        total = made(other, "Add")
        if total is None:
            continue
        erf = next((found for each in total.operands if (found := made(each, "Erf"))), None)
        inner = made(erf.operands[0], "Div") or made(erf.operands[0], "Mul") if erf is not None else None
        scaled = number_of(inner) if inner is not None else None
        if erf is None or inner is None or scaled is None or scaled[0] != x or abs(scaled[1] - 0.5**0.5) > 1e-4:
            continue
        step.op, step.operands, step.attributes = "Gelu", [x], {}
        gone.update(id(each) for each in (product, total, erf, inner))
        return
