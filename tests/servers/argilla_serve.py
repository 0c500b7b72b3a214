"""argilla-server 2.8 as a program: SQLite, a search engine in memory, a Redis that is none.

    ARGILLA_HOME_PATH=FOLDER python argilla_serve.py PORT

Runs in the virtual environment that tests/setup_argilla.sh makes. It is the real server with its real user interface; only what it would ask of
Elasticsearch and Redis stays in the process. What is in the folder's database is indexed again at every start. The owner's key is in
ARGILLA_OWNER_KEY.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import fakeredis
import redis

os.environ.setdefault("ARGILLA_SEARCH_ENGINE", "memory")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
redis.from_url = lambda *_, **__: fakeredis.FakeStrictRedis()  # before the server's queues ask for it
sys.path.insert(0, str(Path(__file__).parent))

import argilla_search  # noqa: E402, F401 - registers the engine
import uvicorn  # noqa: E402
from argilla_server import app  # noqa: E402
from argilla_server.cli.database.migrate import migrate_db  # noqa: E402
from argilla_server.cli.search_engine.reindex import Reindexer  # noqa: E402
from argilla_server.contexts import accounts  # noqa: E402
from argilla_server.database import AsyncSessionLocal  # noqa: E402
from argilla_server.enums import UserRole  # noqa: E402
from argilla_server.models import User  # noqa: E402
from argilla_server.search_engine import get_search_engine  # noqa: E402


async def prepare() -> None:
    """The owner, and an index of what is in the database."""
    async with AsyncSessionLocal() as db:
        if await User.get_by(db, username="owner") is None:
            await User.create(
                db,
                first_name="owner",
                username="owner",
                role=UserRole.owner,
                api_key=os.environ["ARGILLA_OWNER_KEY"],
                password_hash=accounts.hash_password("owner-password"),
                workspaces=[],
            )
        async for engine in get_search_engine():
            async for dataset in Reindexer.reindex_datasets(db, engine):
                async for _ in Reindexer.reindex_dataset_records(db, engine, dataset):
                    pass


if __name__ == "__main__":
    migrate_db("head")
    asyncio.run(prepare())
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
