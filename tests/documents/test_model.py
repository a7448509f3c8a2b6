"""Summaries and prompts, with a model behind a server that speaks the OpenAI protocol; and without one."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dispatcher.adapters.openai_model import OpenAiModel
from dispatcher.errors import ModelError
from tests.documents.conftest import Network, opened

SCHEMA = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
FORMATS = ["summary", {"type": "json", "prompt": "What mood is the page in?", "schema": SCHEMA}]


@dataclass
class ModelServer:
    """Answers each request with the next of `answers`: a status and the text of the model."""

    answers: list[tuple[int, object]]
    asked: list[dict[str, object]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.asked.append(asked)
        self.keys.append(request.headers.get("Authorization"))
        status, text = self.answers.pop(0) if self.answers else self._fitting(asked)
        body = text if isinstance(text, dict) else {"choices": [{"message": {"role": "assistant", "content": text}}]}
        return web.json_response(body, status=status, headers={"Retry-After": "0"})

    @staticmethod
    def _fitting(asked: dict[str, object]) -> tuple[int, object]:
        return (200, '{"mood": "bright"}') if "response_format" in asked else (200, " A page about a lamp. ")


@asynccontextmanager
async def model_at(server: ModelServer, *, key: str | None = "secret") -> AsyncIterator[OpenAiModel]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.answer)
    async with TestServer(app) as started:
        model = OpenAiModel(str(started.make_url("/v1")), name="small", key=key, timeout_s=5)
        yield model
        await model.close()


async def test_a_model_makes_summaries_and_values(tmp_path: Path) -> None:
    server = ModelServer([])
    async with model_at(server) as model, opened(tmp_path, model=model) as network:
        data = (await network.scrape(formats=FORMATS)).data()
    assert data["summary"] == "A page about a lamp." and data["json"] == {"mood": "bright"}
    assert "warning" not in data and server.keys == ["Bearer secret"] * 2
    values = next(asked for asked in server.asked if "response_format" in asked)
    form = values["response_format"]
    assert isinstance(form, dict) and form["type"] == "json_schema" and form["json_schema"]["schema"] == SCHEMA
    assert values["model"] == "small" and "shines in the dark" in json.dumps(values["messages"])


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([(500, "x"), (500, "x")], "the model endpoint answered 500"),
        ([(200, {"nothing": 1}), (200, {"choices": []})], "not a chat completion"),
        ([(200, ""), (200, "")], "gave no answer"),
    ],
)
async def test_a_model_that_fails_costs_only_what_it_was_asked_for(
    tmp_path: Path, answers: list[tuple[int, object]], words: str
) -> None:
    async with model_at(ModelServer(answers)) as model, opened(tmp_path, model=model) as network:
        data = (await network.scrape(formats=["markdown", *FORMATS])).data()
    assert "shines in the dark" in str(data["markdown"]) and "summary" not in data
    assert str(data["warning"]).count(words) == 2


async def test_values_that_do_not_match_are_told(tmp_path: Path) -> None:
    server = ModelServer([(200, '{"mood": 5}')])
    async with model_at(server) as model, opened(tmp_path, model=model) as network:
        data = (await network.scrape(formats=FORMATS[1:])).data()
    assert data["json"] == {"mood": 5} and "5 is not of type 'string'" in str(data["warning"])


async def test_a_busy_model_is_asked_once_more_and_one_that_is_away_is_told() -> None:
    server = ModelServer([(429, "x"), (200, "Later.")])
    async with model_at(server, key=None) as model:
        assert await model.summary("page") == "Later." and server.keys == [None, None]
    away = OpenAiModel("http://127.0.0.1:9", name="small", key=None, timeout_s=5)
    with pytest.raises(ModelError, match="cannot be reached"):
        await away.summary("page")
    await away.close()


async def test_without_a_model_what_needs_one_is_refused_and_names_the_settings(network: Network) -> None:
    for form in FORMATS[:1], [{"type": "json", "prompt": "x"}]:
        answer = await network.scrape(formats=form)
        assert answer.status == 400 and "MEADOW_MODEL_URL" in str(answer.at("error"))
    data = (await network.scrape(formats=[{"type": "json", "prompt": "x", "schema": SCHEMA}])).data()
    assert "MEADOW_MODEL_URL" in str(data["warning"])
