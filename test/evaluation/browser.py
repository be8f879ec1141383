"""A headless Chromium, spoken to in its own protocol over pipes: nothing to install beside it."""

import base64
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
from PIL import Image

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
OPTIONS = ('--headless', '--no-sandbox', '--no-first-run', '--remote-debugging-pipe')
OPTIONS += ('--disable-gpu-rasterization', '--disable-gpu-compositing')  # WebGL alone is enough
OPTIONS += ('--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader')
PHONE, DESKTOP = (390, 844), (1000, 700)
TIMEOUT = 60.0
# the protocol's file descriptors are 3 and 4
WIRE = """import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find():
    """Path of the browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def open_page(path, profile):
    """A `Page` that shows a file; everything it says or asks of the network is noted."""
    to_child, from_us = os.pipe()
    from_child, to_us = os.pipe()

    command = [find(), *OPTIONS, f'--user-data-dir={profile}', 'about:blank']
    process = subprocess.Popen(
        [sys.executable, '-c', WIRE, str(to_child), str(to_us), *command],
        pass_fds=(to_child, to_us),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_child)
    os.close(to_us)
    try:
        page = Page(from_us, from_child)
        page.load(path.resolve().as_uri())
        yield page
        page.close()
        process.wait(TIMEOUT)
    finally:
        process.kill()
        process.wait()
        os.close(from_us)
        os.close(from_child)


class Page:
    """One tab.

    Attributes:
        said: errors of the console, and exceptions.
        asked: addresses that were requested.
    """

    def __init__(self, write, read):
        self._write, self._read, self._buffer, self._next = write, read, b'', 0
        self._session, self.said, self.asked, self._events = None, [], [], set()
        target = self._call('Target.createTarget', url='about:blank')['targetId']
        attached = self._call('Target.attachToTarget', targetId=target, flatten=True)
        self._session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self._call(f'{domain}.enable')

    def load(self, address):
        self._call('Page.navigate', url=address)
        self.wait_for(lambda: 'Page.loadEventFired' in self._events)

    def show(self, size=DESKTOP, scheme='light'):
        """Make the window a phone or a desktop, light or dark."""
        width, height = size
        mobile = size == PHONE
        self._call(
            'Emulation.setDeviceMetricsOverride',
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        features = [{'name': 'prefers-color-scheme', 'value': scheme}]
        self._call('Emulation.setEmulatedMedia', media='', features=features)

    def run(self, script):
        """Value of a JavaScript expression; promises are waited for."""
        done = self._call(
            'Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True
        )
        assert 'exceptionDetails' not in done, done['exceptionDetails']
        return done['result'].get('value')

    def wait_for(self, true):
        end = time.monotonic() + TIMEOUT
        while not true():
            assert time.monotonic() < end, f'nothing came; the page said {self.said}'
            self._poll(0.05)

    def picture(self, selector=None):
        """Pixels (H, W, 3) of the window, of an element, or with '' of the whole page."""
        clip = {}
        if selector is not None:
            box = self.run(
                '(({left, top, width, height}) =>'
                ' ({x: left + scrollX, y: top + scrollY, width, height}))'
                f'(document.querySelector({selector or "html"!r}).getBoundingClientRect())'
            )
            clip = {'clip': box | {'scale': 1}, 'captureBeyondViewport': True}
        data = self._call('Page.captureScreenshot', **clip)['data']
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert('RGB'))

    def pdf(self):
        """Return the printed page as a PDF file."""
        return base64.b64decode(self._call('Page.printToPDF', printBackground=False)['data'])

    def close(self):
        self._session = None
        self._call('Browser.close')

    def _call(self, method, **params):
        self._next += 1
        message = {'id': self._next, 'method': method, 'params': params}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        answers = []
        end = time.monotonic() + TIMEOUT
        while not answers:
            assert time.monotonic() < end, f'no answer to {method}'
            answers = [m for m in self._poll(0.5) if m.get('id') == self._next]
        assert 'error' not in answers[0], (method, answers[0])
        return answers[0]['result']

    def _poll(self, seconds):
        """Messages that have come; events are noted on the way."""
        if select.select([self._read], [], [], seconds)[0]:
            self._buffer += os.read(self._read, 1 << 20)
        *whole, self._buffer = self._buffer.split(b'\0')
        messages = [json.loads(text) for text in whole]
        for message in messages:
            self._note(message.get('method'), message.get('params', {}))
        return messages

    def _note(self, method, params):
        self._events.add(method)
        if method == 'Runtime.consoleAPICalled' and params['type'] == 'error':
            self.said.append(' '.join(str(a.get('value', a)) for a in params['args']))
        elif method == 'Runtime.exceptionThrown':
            self.said.append(str(params['exceptionDetails']))
        elif method == 'Log.entryAdded' and params['entry']['level'] == 'error':
            self.said.append(params['entry']['text'])
        elif method == 'Network.requestWillBeSent':
            self.asked.append(params['request']['url'])
