"""The site of the documentation has every page once."""

from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
SITE = YAML(typ='safe').load(ROOT / 'mkdocs.yml')


def pages(nav):
    for entry in nav:
        for content in entry.values():
            yield from pages(content) if isinstance(content, list) else [content]


def test_every_page_stands_in_the_navigation_once():
    folder = ROOT / SITE['docs_dir']
    assert sorted(pages(SITE['nav'])) == sorted(path.name for path in folder.glob('*.md'))


def test_what_is_left_out_exists():
    for name in SITE['exclude_docs'].split():
        assert (ROOT / SITE['docs_dir'] / name).is_dir()
