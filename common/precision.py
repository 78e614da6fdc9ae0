"""Number formats that networks compute in."""

import torch

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_precision(name: str, device: str | torch.device) -> torch.dtype:
    """The torch dtype of a precision's name.

    Args:
        name: key of ``PRECISIONS``, or "auto": bfloat16 on a GPU or a CPU with instructions for
            it (AMX, AVX-512 BF16: 2.5 times as fast here); else float16 on a GPU, where the
            scaling of losses makes the host wait for the device in each step, and float32 on a
            CPU.
    """
    if name != "auto":
        return PRECISIONS[name]
    if torch.device(device).type == "cuda":
        multiplies = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if multiplies else torch.float16
    return torch.bfloat16 if _multiplies_bfloat16(cpu_capabilities()) else torch.float32


def format_name(precision: torch.dtype) -> str:
    """A torch dtype's name without ``torch.``, as in ``PRECISIONS``."""
    return str(precision).removeprefix("torch.")


def cpu_capabilities() -> dict[str, bool]:
    """The CPU's capabilities by torch's names; empty where this torch does not report them."""
    return getattr(torch.cpu, "get_capabilities", dict)()


def _multiplies_bfloat16(capabilities):
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))


def autocast(device: str | torch.device, precision: torch.dtype) -> torch.autocast:
    """Context in which suitable operations compute in a torch dtype, the others in float32."""
    return torch.autocast(torch.device(device).type, precision,
                          enabled=precision != torch.float32)
