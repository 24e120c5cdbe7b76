"""Time of bit-serial products on this processor follows the product of the widths. Run with `make bench`."""

from hwmodel.cpu import measure_cpu, numpy_kernel


def test_time_follows_the_product_of_the_widths(benchmark) -> None:  # type: ignore[no-untyped-def]
    """8 x 8 over 2 x 2 bits; a control by the sum of the widths would give 4."""
    found = benchmark.pedantic(measure_cpu, args=((16, 16, 4096),), kwargs={"kernel": numpy_kernel, "widths": (2, 4, 8)}, rounds=1)
    times = found.rows.set_index(["activation_bits", "weight_bits"])["seconds"]
    benchmark.extra_info |= {"8 x 8 over 2 x 2": times[8, 8] / times[2, 2], "R2": found.r_squared}
    assert times[8, 8] / times[2, 2] > 8
    assert found.r_squared > 0.9
