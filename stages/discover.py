"""Ask a language model for the attributes of a domain and a task: ``python -m stages.discover params.yaml``.

Not a stage of the pipeline: what it writes, ``attributes.cache``, is kept in git, so that nobody needs a key. The
endpoint is told by OPENAI_BASE_URL, OPENAI_API_KEY and RAREMIX_MODEL. Whatever fails, the old list stays.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveFloat

from raremix.diagnosis.discovered import Discovered, write
from raremix.diagnosis.discovery import Reply, ask, endpoint, entries_of, prompt
from stages.attributes import Attributes
from stages.cli import run
from stages.sections import Study


def discover(
    attributes: Attributes,
    study: Study,
    timeout: PositiveFloat = 120.0,
    retries: NonNegativeInt = 3,
    prices: tuple[float, float] | None = None,
) -> None:
    """Ask an endpoint for attributes, show what it cost, keep the answer.

    Args:
        timeout: seconds to wait for a sign of life
        retries: after a rate limit, a time-out, a lost connection or a fault of the server's
        prices: of a million tokens, asked and answered: '[2.5, 10]'
    """
    asked = endpoint(os.environ, timeout, retries)
    question = prompt(attributes.domain, attributes.task, attributes.count)
    reply = ask(asked, question)
    print(f"stages.discover: {_cost(reply, prices)}")
    found = Discovered(
        domain=attributes.domain,
        task=attributes.task,
        count=attributes.count,
        prompt=question,
        model=reply.model or asked.model,
        date=datetime.now(UTC).date(),
        source=f"the endpoint {asked.host}, by python -m stages.discover",
        attributes=entries_of(reply, attributes.count, study.findings, asked.model),
    )
    write(Path(attributes.cache), found)
    print(f"stages.discover: {len(found.attributes)} attributes in {attributes.cache}; look at attributes.reads again")


def _cost(reply: Reply, prices: tuple[float, float] | None) -> str:
    if reply.usage is None:
        return "the endpoint does not tell how many tokens it took"
    asked, answered = reply.usage.prompt_tokens, reply.usage.completion_tokens
    price = f", at these prices {(asked * prices[0] + answered * prices[1]) / 1e6:.4f}" if prices else ""
    return f"{asked} tokens asked, {answered} answered{price}"


if __name__ == "__main__":
    run(discover)
