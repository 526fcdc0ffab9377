"""A browser on the reading room's page; everything that the page asks for or complains of is kept."""

from __future__ import annotations

from typing import Any

DESK, TABLET, UPRIGHT = (1400, 900), (1024, 768), (820, 1180)


class Reader:
    """One tab: opened on the worklist or a study, closed with a check that nothing went wrong unseen.

    Args:
        browser: from ``a_browser``.
        url: of the server.
        hash: which view.
        size: of the window.
        expected: parts of complaints that the test provokes.
    """

    def __init__(
        self,
        browser: Any,
        url: str,
        hash: str = "",
        *,
        size: tuple[int, int] = DESK,
        expected: tuple[str, ...] = (),
        **context: Any,
    ) -> None:
        self.url, self.expected = url, expected
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.dialogs: list[str] = []
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **context)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(10_000)
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", self._dialog)
        self.tab.goto(f"{url}/{hash}")

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.type)
        dialog.dismiss()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        if kind is None:
            unseen = [text for text in self.complaints if not any(part in text for part in self.expected)]
            assert unseen == []
            assert [url for url in self.requests if not url.startswith((self.url, "blob:", "data:"))] == []

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)

    def until(self, script: str) -> None:
        """Waits until a JavaScript expression is true; asked from outside, for the page's policy forbids eval in it."""
        for _ in range(200):
            if self.tab.evaluate(script):
                return
            self.tab.wait_for_timeout(50)
        raise AssertionError(f"never true: {script}")

    def sees(self, text: str) -> None:
        self.tab.get_by_text(text).first.wait_for()

    def overflow_px(self) -> int:
        """How far the page reaches beyond the window to the right."""
        return int(self.tab.evaluate("document.documentElement.scrollWidth - window.innerWidth"))
