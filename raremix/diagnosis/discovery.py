"""Ask a language model which attributes a classifier may react to, through any endpoint of OpenAI's protocol."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from httpx2 import URL, InvalidURL
from openai import APIConnectionError, APIStatusError, APITimeoutError, AuthenticationError, OpenAI, OpenAIError
from pydantic import BaseModel, Field, ValidationError

from raremix.diagnosis.discovered import LONGEST, LONGEST_REASON, Answer, Entry, check, first, short
from raremix.runtime.errors import UserError

OPENAI = "https://api.openai.com/v1"
SECRET = 8  # characters; what local endpoints take for a key ("none") is shorter, and no secret

PROMPT = """\
An image classifier is to be diagnosed. Domain: {domain}. Task: {task}.
Name {count} attributes that vary between such images and that the classifier may react to, although they are not what \
the task asks for: of the body, the positioning, the exposure and its geometry, devices and other objects, the \
processing of the image. Each must be visible in the image. None may be a finding of the task, and no two the same.
Answer with JSON alone, no other text, in this form:
{{"attributes": [{{"attribute": "...", "phrase": "...", "reason": "..."}}]}}
attribute: a name of a-z, 0-9 and underscores, at most {longest} characters
phrase: words to be added to an image's caption, such as "ap view"; lower case, without punctuation, at most {longest} \
characters
reason: one sentence, at most {longest_reason} characters, on why a classifier may react to it
"""


@dataclass(frozen=True)
class Endpoint:
    """Where and whom to ask."""

    url: str
    model: str
    timeout: float  # seconds to wait for a sign of life
    retries: int  # after a rate limit, a time-out, a lost connection or a fault of the server's
    key: str = field(repr=False)

    @property
    def host(self) -> str:
        """What may be shown of ``url``: it may hold a password."""
        return URL(self.url).netloc.decode()


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class Reply(BaseModel):
    """As much of a chat completion as is needed; endpoints differ in the rest."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None
    model: str | None = None  # as the endpoint calls it: often more precise than what was asked for


def endpoint(environment: Mapping[str, str], timeout: float, retries: int) -> Endpoint:
    """The endpoint that OPENAI_BASE_URL (OpenAI's own if not set), OPENAI_API_KEY and RAREMIX_MODEL tell.

    Raises:
        UserError: names the variable that is missing or can not be right; the key is not shown.
    """
    told = {name: environment.get(name, "").strip() for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "RAREMIX_MODEL")}
    url, key, model = told.values()
    if not key:
        raise UserError("OPENAI_API_KEY: not set; set it to your endpoint's key (any word if it takes none)")
    if not re.fullmatch(r"[!-~]+", key):
        raise UserError("OPENAI_API_KEY: holds a space or a character that no key has; copy it again")
    if not model:
        raise UserError("RAREMIX_MODEL: not set; set it to the name of a model that your endpoint has")
    try:
        known = URL(url or OPENAI)
    except InvalidURL:
        known = URL()
    if known.scheme not in ("http", "https") or not known.host:
        raise UserError("OPENAI_BASE_URL: is no address such as http://localhost:11434/v1; mend it")
    return Endpoint(url or OPENAI, model, timeout, retries, key)


def prompt(domain: str, task: str, count: int) -> str:
    """The question, the same for the same arguments."""
    return PROMPT.format(domain=domain, task=task, count=count, longest=LONGEST, longest_reason=LONGEST_REASON)


def ask(endpoint: Endpoint, prompt: str) -> Reply:
    """What the endpoint replies to ``prompt``.

    Plain text is asked for, not a response format: not every endpoint knows one.

    Raises:
        UserError: it replied nothing of use; says why and what to do. The key is not shown, nor ever in the reply.
    """
    try:
        with OpenAI(
            api_key=endpoint.key, base_url=endpoint.url, timeout=endpoint.timeout, max_retries=endpoint.retries
        ) as client:
            raw = client.chat.completions.with_raw_response.create(
                model=endpoint.model, messages=[{"role": "user", "content": prompt}]
            )
            text = raw.text
    except OpenAIError as error:
        raise UserError(_why(error, endpoint)) from None
    if len(endpoint.key) >= SECRET and endpoint.key in text:
        raise UserError(f"{endpoint.host}: its reply repeats the key, so nothing of it is kept; ask another endpoint")
    try:
        return Reply.model_validate_json(text)
    except ValidationError as error:
        raise UserError(
            f"{endpoint.host}: its reply is no chat completion ({first(error)}); is OPENAI_BASE_URL whole, with /v1?"
        ) from None


def _why(error: OpenAIError, endpoint: Endpoint) -> str:
    host, tried = endpoint.host, f"after up to {endpoint.retries} retries"
    if isinstance(error, APITimeoutError):
        return f"{host}: no reply within {endpoint.timeout:g} seconds {tried}; ask later or give a longer --timeout"
    if isinstance(error, APIConnectionError):
        return f"{host}: can not be reached {tried}; is OPENAI_BASE_URL right, and the endpoint running?"
    if isinstance(error, AuthenticationError):  # its message may hold a part of the key
        return f"{host}: refuses the key (401); set OPENAI_API_KEY to a valid one"
    if isinstance(error, APIStatusError):
        body = error.body.get("message", "") if isinstance(error.body, dict) else error.body or ""
        said = str(body).replace(endpoint.key, "***") if len(endpoint.key) >= SECRET else str(body)
        passing = error.status_code in (408, 409, 429) or error.status_code >= 500
        remedy = f"{tried}; ask later" if passing else "so see that RAREMIX_MODEL and OPENAI_BASE_URL are right"
        return f"{host}: replied {error.status_code} ({short(said) or 'no word'}), {remedy}"
    return f"{host}: the client failed ({type(error).__name__}); see that the OPENAI_ variables are right"


def entries_of(reply: Reply, count: int, findings: Sequence[str], model: str) -> list[Entry]:
    """The attributes that ``reply`` names, at most ``count`` of them and none of ``findings``.

    Text around the JSON, such as a code fence, is passed over.

    Raises:
        UserError: the ``model`` refused, was cut short, answered no JSON, or something that ``check`` refuses.
    """
    choice, who = reply.choices[0], f"the answer of {model}"
    text = (choice.message.content or "").strip()
    if choice.finish_reason == "length":
        raise UserError(f"{who}: was cut short; lower attributes.count or let the endpoint answer longer")
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise UserError(f"{who}: it refuses ({short(choice.message.refusal or text) or 'no word'}); ask another model")
    begin, end = text.find("{"), text.rfind("}") + 1
    if begin < 0 or end <= begin:
        raise UserError(f"{who}: holds no JSON ({short(text) or 'no word'}); ask again or another model")
    try:
        answer = Answer.model_validate_json(text[begin:end])
    except ValidationError as error:
        raise UserError(f"{who}: {first(error)}; ask again or another model") from None
    check(answer.attributes, count, findings, who)
    return answer.attributes
