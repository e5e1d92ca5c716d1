"""Where a model runs, in which precision, and what is said of it."""

import pytest
import torch

from segearth_cli.errors import UsageError
from segearth_cli.model.device import fast_bfloat16, pick_device, pick_precision, slow_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def seconds(half):
    return lambda dtype: 1.0 if dtype == torch.float32 else half


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_precision_slower_than_float32_brings_one_line(name):
    line = slow_precision(name, CPU, seconds(3.3))
    assert line == f"--precision {name}: a product takes 3.3 times as long as in fp32 on this CPU; fp32 is faster"


@pytest.mark.parametrize(
    ("name", "device", "half"),
    [("fp16", CPU, 1.0), ("bf16", CPU, 0.5), ("auto", CPU, 9.0), ("fp32", CPU, 9.0), ("fp16", CUDA, 9.0)],
    ids=str,
)  # fmt: skip
def test_nothing_is_said_of_one_that_is_not(name, device, half):
    assert slow_precision(name, device, seconds(half)) is None


@pytest.mark.parametrize(
    ("known", "fast"),
    [
        ("avx512_f avx512_bf16 amx_bf16", True),
        ("avx512_f avx512_bf16 sse4a", True),
        ("avx512_f avx512_bf16", False),  # an Intel whose AMX a hypervisor hides
        ("avx512_f sse4a", False),
        ("", False),
    ],
    ids=str,
)
def test_bfloat16_is_chosen_where_it_is_faster_than_float32(known, fast):
    assert fast_bfloat16(dict.fromkeys(known.split(), True)) == fast


@pytest.mark.parametrize("name", ["fp8", "", "float32"])
def test_an_unknown_precision_is_told(name):
    with pytest.raises(UsageError, match=f"--precision {name}: choose auto, fp32, bf16, fp16"):
        pick_precision(name, CPU)


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:x"])
def test_an_unknown_device_is_told(name):
    with pytest.raises(UsageError, match=f"--device {name}: choose auto, cpu, cuda:N or mps"):
        pick_device(name)
