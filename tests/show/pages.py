"""What tests ask of an HTML page."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br"}
NASTY = "<script>alert(\"1\") & 'x'</script>"


class Page(HTMLParser):
    """What a test asks of a page; fails where a tag is not closed by its own end."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, *names):
        return [(tag, value) for tag, name, value in self.attributes if name in names]


def assert_whole(text):
    """Fail unless the page is closed, asks for nothing and has every id once, and finds each."""
    assert text.startswith("<!DOCTYPE html>")
    html = Page(text)
    assert "script" not in html.tags
    assert not html.values("src", "srcset", "data", "poster", "background", "ping")
    links = html.values("href", "xlink:href")
    assert {tag for tag, link in links if link.startswith("http")} == {"a"}
    assert all(link.startswith(("http", "#", "data:")) for _, link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    ids = [value for _, value in html.values("id")]
    assert len(ids) == len(set(ids))
    targets = {link[1:] for _, link in links if link.startswith("#")}
    targets |= set(re.findall(r"url\(#([^)]*)\)", text))
    targets |= {value for _, value in html.values("aria-labelledby")}
    assert targets <= set(ids)
