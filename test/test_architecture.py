"""Imports point one way, and the package itself stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'page4d_ros'
# room -> rooms and modules of ours that it may import
ALLOWED = {
    'errors': set(),
    'units': set(),
    'process': set(),
    'settings': {'errors'},
    'input_config': {'settings'},
    'output_config': {'settings'},
    'config': {'errors', 'settings', 'input_config', 'output_config', 'model'},
    'geometry': {'errors'},
    'model': {'errors', 'units', 'geometry'},
    'backends': {'errors', 'model'},
    'perception': {'errors', 'process', 'units', 'config', 'geometry', 'model', 'backends'},
    'messages': {'errors', 'units', 'share', 'config', 'geometry', 'perception'},
    'window_scores': {'geometry'},
    'truth': {'geometry', 'perception'},
    'synthetic': {'errors', 'units', 'geometry', 'truth'},
    'share': {'errors'},
    'rrd': {'errors', 'units', 'config', 'perception', 'messages'},
    'reference': {'config', 'messages'},
    'dashboard': {'errors', 'perception', 'messages'},
    'doctor': {'errors', 'process', 'config', 'geometry', 'perception'},
    'bags': {
        'errors',
        'units',
        'config',
        'share',
        'geometry',
        'perception',
        'messages',
        'synthetic',
        'truth',
    },
    'ros': {
        'errors',
        'process',
        'units',
        'settings',
        'share',
        'config',
        'geometry',
        'perception',
        'messages',
        'bags',
        'dashboard',
        'doctor',
    },
    'datasets': {
        'errors',
        'units',
        'settings',
        'config',
        'geometry',
        'model',
        'perception',
        'messages',
        'bags',
        'synthetic',
        'truth',
    },
    'evaluation': {
        'errors',
        'units',
        'config',
        'window_scores',
        'geometry',
        'model',
        'perception',
        'messages',
        'synthetic',
        'bags',
        'datasets',
        'truth',
    },
    'training': {
        'errors',
        'units',
        'settings',
        'config',
        'window_scores',
        'geometry',
        'model',
        'perception',
        'synthetic',
        'truth',
    },
    'fleet': {
        'errors',
        'process',
        'units',
        'config',
        'geometry',
        'perception',
        'messages',
        'bags',
        'training',
    },
    'benchmark': {
        'errors',
        'backends',
        'process',
        'units',
        'config',
        'geometry',
        'model',
        'perception',
        'messages',
        'bags',
        'ros',
    },
    'commands': {
        'errors',
        'reference',
        'dashboard',
        'doctor',
        'backends',
        'process',
        'units',
        'settings',
        'config',
        'share',
        'messages',
        'perception',
        'synthetic',
        'bags',
        'datasets',
        'ros',
        'evaluation',
        'training',
        'fleet',
        'benchmark',
        'rrd',
        'truth',
    },
    'cli': {'errors', 'process', 'units', 'commands'},
}
FLEET = {'ray', 'pyarrow', 'fsspec'}
# packages and modules of the evaluation, each may import those before it and itself
EVALUATION = (
    {'result', 'protocol'},
    {'metrics'},
    {'methods'},
    {'report'},
    {'plans'},
    {'run'},
)
MOST_LINES = 450
ROS = {'rclpy', 'sensor_msgs', 'nav_msgs', 'std_msgs', 'geometry_msgs', 'diagnostic_msgs'}


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f'{node.module}.{name.name}' for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def files_of(room):
    folder = PACKAGE / room
    return [PACKAGE / f'{room}.py'] if not folder.is_dir() else sorted(folder.rglob('*.py'))


@pytest.mark.parametrize('room', ALLOWED)
def test_rooms_import_only_what_lies_below_them(room):
    for path in files_of(room):
        for name in imports_of(path):
            parts = name.split('.')
            assert parts[0] not in ROS or room == 'ros', f'{path.name} imports {name}'
            assert parts[0] != 'rosbags' or room == 'bags', f'{path.name} imports {name}'
            assert parts[0] != 'rerun' or room == 'rrd', f'{path.name} imports {name}'
            assert parts[0] not in FLEET or room == 'fleet', f'{path.name} imports {name}'
            if (
                parts[0] == 'page4d_ros'
                and len(parts) > 1
                and parts[1] not in {room, '__version__'}
            ):
                assert parts[1] in ALLOWED[room], f'{room}/{path.name} imports {name}'


def test_packages_of_the_evaluation_import_only_what_lies_below_them():
    """Imports for annotations (under TYPE_CHECKING) count, too."""
    rank = {name: i for i, names in enumerate(EVALUATION) for name in names}
    for path in files_of('evaluation'):
        parts = path.relative_to(PACKAGE / 'evaluation').with_suffix('').parts
        if parts == ('__init__',):
            continue
        for name in imports_of(path):
            other = name.removeprefix('page4d_ros.evaluation.')
            if other != name:
                other = other.split('.')[0]
                assert other == parts[0] or rank[other] < rank[parts[0]], f'{path}: {name}'


def modules():
    """Dotted name of every module of the package -> its file."""
    names = {}
    for path in PACKAGE.rglob('*.py'):
        parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
        names['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return names


def cycles(imports):
    """Groups of modules (name -> names that it imports) that reach each other."""
    reached = {name: set(direct) for name, direct in imports.items()}
    for middle in imports:  # transitive closure (Warshall, 1962)
        for name in imports:
            if middle in reached[name]:
                reached[name] |= reached[middle]
    circular = [name for name in imports if name in reached[name]]
    return sorted({tuple(n for n in sorted(reached[m]) if m in reached[n]) for m in circular})


def test_cycles_are_found():
    circle = {'a': {'b'}, 'b': {'c'}, 'c': {'a'}, 'd': {'a'}, 'e': set()}
    assert cycles(circle) == [('a', 'b', 'c')]
    assert cycles({'a': {'b', 'c'}, 'b': {'c'}, 'c': set()}) == []


def test_no_modules_import_each_other_in_a_circle():
    """Imports for annotations (under TYPE_CHECKING) and those inside functions count, too."""
    known = modules()
    imports = {}
    for name, path in known.items():
        found = set(imports_of(path)) & set(known) - {name}
        # `from package import module` needs the module, not the package
        inner = {n for n in found if any(m.startswith(f'{n}.') for m in found)}
        imports[name] = found - inner
    assert cycles(imports) == []


def test_no_file_is_long():
    root = PACKAGE.parent
    files = [path for folder in (PACKAGE, root / 'test') for path in folder.rglob('*.py')]
    lengths = {str(path.relative_to(root)): path.read_text().count('\n') for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_every_room_has_its_rule():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == '.py'}
    rooms |= {path.name for path in PACKAGE.iterdir() if (path / '__init__.py').exists()}
    assert rooms - {'__init__'} == set(ALLOWED)


def test_importing_the_settings_loads_nothing_heavy():
    heavy = {'torch', 'rclpy', 'cv2', 'numpy'}
    code = f'import sys, page4d_ros.config; print(sorted({heavy} & set(sys.modules)))'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == '[]'


def test_the_node_loads_no_reader_of_recordings():
    """With their libraries loaded the process crashed at its end in three runs of eight."""
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    code = 'import sys, page4d_ros.ros.node; print("rosbags" in sys.modules)'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == 'False'


def test_versions_agree():
    import page4d_ros

    root = PACKAGE.parent
    assert f'<version>{page4d_ros.__version__}</version>' in (root / 'package.xml').read_text()
    assert f"version='{page4d_ros.__version__}'" in (root / 'setup.py').read_text()
    assert f'\nversion: {page4d_ros.__version__}\n' in (root / 'CITATION.cff').read_text()
    assert f'version is {page4d_ros.__version__}' in (root / 'QUALITY_DECLARATION.md').read_text()


def test_docstrings_begin_with_a_noun_or_a_verb():
    """A docstring that opens with a question word names no thing and no action."""
    question = ('What ', 'Where ', 'Whether ', 'Who ', 'How ', 'Which ', 'When ')
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    found = [
        f'{path.relative_to(PACKAGE)}: {text.splitlines()[0]}'
        for path in sorted(PACKAGE.rglob('*.py'))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kinds) and (text := ast.get_docstring(node) or '').startswith(question)
    ]
    assert not found, '\n'.join(found)
