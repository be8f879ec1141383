"""Sources and destination in an object store that fails now and then."""

import json
import os
import threading

import fsspec
import pytest
from fleet_cases import job, write_good

from page4d_ros.fleet.index import INDEX, write_index
from page4d_ros.fleet.local import LocalPool
from page4d_ros.fleet.report import REPORT, write_report
from page4d_ros.fleet.run import Run, find_tasks
from page4d_ros.fleet.store import MANIFESTS, Store

try:
    import s3fs
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server
except ImportError:
    pytest.skip(
        's3fs or moto is not installed: `make test-fleet` installs them', allow_module_level=True
    )

EVERY = 7  # each n-th request fails


class Unreliable:
    """The server's application; each seventh request ends in an error 500 or without an answer."""

    def __init__(self):
        self.application = DomainDispatcherApplication(create_backend_app)
        self.count = self.failed = 0
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        with self.lock:
            self.count += 1
            fails = self.count % EVERY == 0
            self.failed += fails
        if not fails:
            return self.application(environ, start_response)
        if self.count % (2 * EVERY) == 0:
            raise ConnectionAbortedError  # nothing is answered, until the client gives up
        start_response('500 Internal Server Error', [('Content-Length', '0')])
        return [b'']


@pytest.fixture
def unreliable(monkeypatch):
    """An object store with the bucket ``fleet``, of which each seventh answer is missing."""
    application = Unreliable()
    server = make_server('127.0.0.1', 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv('AWS_ENDPOINT_URL', f'http://127.0.0.1:{server.server_port}')
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'test')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'test')
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
    patience = {'config_kwargs': {'read_timeout': 1}}
    monkeypatch.setitem(fsspec.config.conf, 's3', patience)
    monkeypatch.setenv('FSSPEC_S3', json.dumps(patience))  # in workers
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir('fleet')
    yield application
    s3fs.S3FileSystem.clear_instance_cache()
    server.shutdown()


def test_an_object_store_that_fails_now_and_then(tmp_path, unreliable):
    fs = s3fs.S3FileSystem()
    for path in write_good(tmp_path / 'in', 5, frames=3):
        fs.put(str(path), f'fleet/in/{path.name}', recursive=path.is_dir())

    said = []

    def begun():
        each, store = (
            job('s3://fleet/out', run=f'run{os.urandom(3).hex()}'),
            Store('s3://fleet/out'),
        )
        found = find_tasks(['s3://fleet/in'], each, store)
        return Run(each, store, LocalPool(each), found, said=said.append), store

    run, store = begun()
    assert run.progress.recordings == 5
    assert run.all()
    assert run.progress.quarantined == 0, said
    assert unreliable.failed > 5
    assert len(store.keys(MANIFESTS)) == 5
    for key in store.keys(MANIFESTS):
        manifest = store.read(MANIFESTS, key)
        output = f'fleet/out/{manifest["output"]}'
        sizes = {
            path.removeprefix(f'{output}/'): info['size']
            for path, info in fs.find(output, detail=True).items()
        }
        sizes.pop('manifest.json')
        assert sizes == manifest['files']
    assert write_index(store) == 5
    write_report(store)
    assert {INDEX, REPORT} <= {path.rpartition('/')[2] for path in fs.ls('fleet/out')}
    page = fs.cat_file(f'fleet/out/{REPORT}').decode()
    assert page.count('data:image/jpeg') == 5

    again, _ = begun()
    assert (again.progress.before, again.progress.size) == (5, 0)
    fs.put(str(tmp_path / 'in' / 'images' / '000000.jpg'), 'fleet/in/images/000001.jpg')
    changed, _ = begun()
    assert changed.progress.before == 4
