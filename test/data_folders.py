"""Test data: small recordings and fixtures in test/data, further ones beside the repository.

`PAGE4D_SHARED` names the folder of the further ones; without it, `shared` beside the repository.
`PAGE4D_PARITY_DIR` names parity fixtures that replace those of test/data.
"""

import os
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parent / 'data'
SHARED = Path(os.environ.get('PAGE4D_SHARED') or DATA.parents[2] / 'shared')
OWN_PARITY = DATA / 'parity'
PARITY = Path(os.environ.get('PAGE4D_PARITY_DIR') or OWN_PARITY)
NO_SHARED = 'no further test data at'
NO_PARITY = 'no parity fixture'


def needs_shared(name: str) -> pytest.MarkDecorator:
    """Mark a test that reads a file or folder of SHARED."""
    path = SHARED / name
    return pytest.mark.skipif(not path.exists(), reason=f'{NO_SHARED} {path}: set PAGE4D_SHARED')


def parity_file(name: str) -> Path:
    """Path of a parity fixture; skips if the folder of PAGE4D_PARITY_DIR lacks it."""
    path = PARITY / name
    if PARITY != OWN_PARITY and not path.is_file():
        pytest.skip(f'{NO_PARITY} {name} in PAGE4D_PARITY_DIR={PARITY}')
    return path


def parity_params(*patterns: str, further: bool = False) -> list:
    """Parity fixtures as parameters of a test.

    Args:
        patterns: globs of their names.
        further: include those of SHARED that test/data lacks; one skipped parameter if SHARED is
            absent.
    """
    found = {path.name: path for pattern in patterns for path in PARITY.glob(pattern)}
    out = [pytest.param(path, id=path.stem) for _, path in sorted(found.items())]
    if PARITY != OWN_PARITY:
        reason = f'{NO_PARITY} {" or ".join(patterns)} in PAGE4D_PARITY_DIR={PARITY}'
        return out or [pytest.param(None, id='none', marks=pytest.mark.skip(reason=reason))]
    if further:
        mark = needs_shared('parity')
        more = {path.name: path for p in patterns for path in (SHARED / 'parity').glob(p)}
        names = sorted(more.keys() - found.keys())
        out += [pytest.param(more[name], id=more[name].stem) for name in names]
        if mark.args[0]:
            out.append(pytest.param(None, id='further', marks=mark))
    return out
