"""Checks of self-contained HTML pages."""

import re
from html.parser import HTMLParser

VOID = {'meta', 'img', 'br', 'link', 'input', 'hr'}


class Checker(HTMLParser):
    """Collects tags and ids, and complains about whatever is not closed in order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.images, self.links = [], [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs['id']] if 'id' in attrs else []
        self.links += [v for k, v in attrs.items() if k in {'src', 'href', 'xlink:href'}]
        if tag == 'img':
            self.images.append(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(path):
    """A page is whole and needs nothing else; returns its text and what was parsed."""
    text = path.read_text(encoding='utf-8')
    parser = Checker()
    parser.feed(text)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    ours = [
        path.parent / link for link in parser.links if not link.startswith(('data:image/', '#'))
    ]
    assert all(path.name == 'report.html' and path.is_file() for path in ours)
    plain, scripts = re.subn(r'<script[^>]*>.*?</script>', '', text, flags=re.DOTALL)
    assert scripts != 1  # figures, and what draws them
    assert not re.search(r'https?:|@import|url\((?!#)', plain)
    assert all(image['alt'] for image in parser.images)
    assert not re.search(r'\bnan\b', re.sub(r'base64,[^"]*', '', plain), re.IGNORECASE)
    assert len(plain) < 4_000_000
    return text, parser
