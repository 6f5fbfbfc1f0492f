"""A failure as a pytest file that stands alone: it needs gsa_dsl and pytest, and nothing of where it was found."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from gsa_dsl.options import KernelConfig
from gsa_dsl.runtime.loader import write_atomically
from gsa_dsl.testing.failing import Failing
from gsa_dsl.testing.report import Row, VerifyReport

_MARK = "# Written by gsa verify."


def reproduction(failing: Failing, report: VerifyReport) -> str:
    """The text of the file. It fails as long as the kernels are wrong, and passes from then on."""
    case = failing.case
    options = {name: value for name, value in failing.options().items() if name != "config"}
    config = _config(failing.config)
    lines = [
        _MARK,
        f'"""{report.name} on {failing.backend}: {_said(report.failures[0])}."""',
        "",
        *(["import pytest"] if failing.backend == "triton" else []),
        "import torch",
        "",
        "import gsa_dsl",
        *(["from gsa_dsl.options import KernelConfig"] if config else []),
        "from gsa_dsl.testing.verify import verify",
        "",
        f'SPEC = """{failing.text.rstrip()}',
        '"""',
        "",
        "",
        *(
            ['@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")']
            * (failing.backend == "triton")
        ),
        f"def test_{report.name}_agrees_with_the_reference() -> None:",
        "    attention = gsa_dsl.compile(",
        "        SPEC,",
        *(f"        {name}={_literal(value)}," for name, value in options.items()),
        *(["        config=KernelConfig(", *config, "        ),"] if config else []),
        "    )",
        "    report = verify(",
        "        attention,",
        f"        shapes=[({case.batch}, {case.length})],",
        f"        patterns=[{_literal(case.pattern)}],",
        f"        phases=[{_literal(case.phase)}],",
        f"        dtype=torch.{failing.dtype},",
        *([f"        device={_literal(failing.device)},"] if failing.device else []),
        *(["        strided=True,"] if case.strided else []),
        f"        seed={failing.seed},",
        "    )",
        "    assert report.ok, str(report)",
        "",
    ]
    return "\n".join(lines)


def save(failing: Failing, report: VerifyReport, path: Path | None = None) -> Path:
    """Write the file, whole or not at all, and say where; by default ``test_NAME_reproduction.py`` in this folder.

    A file that someone else wrote is never replaced: the next free number goes into the name.
    """
    path = path or _free(Path(f"test_{report.name}_reproduction.py"))
    write_atomically(path, reproduction(failing, report))
    return path


def _free(path: Path) -> Path:
    number, found = 1, path
    while found.exists() and not found.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
        number += 1
        found = path.with_stem(f"{path.stem}_{number}")
    return found


def _config(config: KernelConfig | None) -> list[str]:
    """The arguments of the constructor, a line each, without what is as by default."""
    if config is None:
        return []
    default = KernelConfig()
    chosen = {field.name: getattr(config, field.name) for field in fields(config)}
    return [f"            {name}={value!r}," for name, value in chosen.items() if value != getattr(default, name)]


def _literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _said(row: Row) -> str:
    if row.quantity == "call":
        return f"a call raises {row.note.splitlines()[0]}"
    return f"{row.quantity} is off by {row.error:.2e}, {row.allowed:.2e} allowed"
