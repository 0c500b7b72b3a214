"""Claude at Amazon Bedrock and at Google Cloud's Vertex AI.

    provider: {name: bedrock, model: global.anthropic.claude-haiku-5-5, options: {region: eu-central-1}}
    provider: {name: vertex, model: claude-haiku-5-5, options: {region: global, project: my-project}}

Requests and replies are those of Anthropic's Messages API. The Anthropic SDK's own clients say where a request goes and sign it; it is sent,
and its reply read, as with every other provider. Regions and the project may also come from the variables that the clouds' own tools use;
credentials come from there alone, so that no recipe can choose among them. The address follows from the region.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dprm_data.core.errors import InputError
from dprm_data.core.extras import extra
from dprm_data.core.text import one_line
from dprm_data.providers.anthropic import AnthropicProvider
from dprm_data.providers.dialect import Structured
from dprm_data.providers.failures import Scrubber
from dprm_data.providers.provider import provider

if TYPE_CHECKING:
    from dprm_data.providers.http import JsonClient
    from dprm_data.recipe.provider_config import ProviderConfig

# A region or project becomes part of the address to which credentials go: nothing but its name may stand there.
_NAME = re.compile(r"[a-z][a-z0-9-]{1,62}")


class AnthropicCloud(AnthropicProvider):
    """Claude at a cloud, by the SDK's client for it."""

    has_batches = False
    key_variable: ClassVar[str | None] = None
    url_variable: ClassVar[str | None] = None
    default_url = ""
    models_like = "claude"
    refuses: ClassVar[Mapping[str, str]] = {
        **AnthropicProvider.refuses,
        "base_url": "the address follows from the region; leave it out",
        "api_key_env": "the credentials are those of the cloud's own tools; leave it out",
        "endpoints": "a region is an address; leave it out",
    }
    cloud: ClassVar[str] = ""  # whose credentials they are, in messages

    def __init__(
        self, *, region: str, url: str | None, timeout: float, structured: Structured, api_key: str | None = None
    ) -> None:
        super().__init__(api_key=api_key, base_url=url or "", timeout=timeout, structured=structured)
        self.region = region

    @abstractmethod
    def sdk(self) -> Any:
        """The SDK's client for the cloud, which addresses and signs requests and sends none."""

    @cached_property
    def http(self) -> JsonClient:
        """The connection, opened at the first call: importing the SDK takes a second, and a run that only replays answers needs none."""
        with extra("anthropic", what=f"the provider {self.title}"):
            from dprm_data.providers.signed_http import SignedClient

        return SignedClient(self.sdk(), cloud=self.cloud, timeout=self._timeout, scrub=Scrubber(self._api_key))


@provider("bedrock")
class Bedrock(AnthropicCloud):
    """Signed with AWS's credentials (`AWS_PROFILE`, `AWS_ACCESS_KEY_ID`, a role, ...), or with a key of Bedrock's own (`AWS_BEARER_TOKEN_BEDROCK`)."""

    title = "Amazon Bedrock"
    price_list = "aws"
    options = frozenset({"region"})
    libraries = ("anthropic", "boto3")
    cloud = "AWS"

    @classmethod
    def from_config(cls, config: ProviderConfig, environ: Mapping[str, str]) -> Self:
        """Raises `InputError` for a region that is missing or none, and where boto3 is missing."""
        token = environ.get("AWS_BEARER_TOKEN_BEDROCK", "").strip() or None
        if token is None:
            _needs("boto3", "bedrock", f"{cls.title}: signing requests with AWS credentials")
        region = config.options.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        region = _checked("region", region or _profiles_region(environ), "AWS_REGION")
        url = environ.get("ANTHROPIC_BEDROCK_BASE_URL")
        return cls(api_key=token, region=region, url=url, timeout=config.timeout, structured=config.structured)

    def sdk(self) -> Any:
        from anthropic import AsyncAnthropicBedrock

        return AsyncAnthropicBedrock(
            api_key=self._api_key,
            aws_region=self.region,
            base_url=self._url or None,
        )


@provider("vertex")
class Vertex(AnthropicCloud):
    """With Google's application default credentials (`gcloud auth application-default login`, `GOOGLE_APPLICATION_CREDENTIALS`, a role)."""

    title = "Vertex AI"
    price_list = "google"
    options = frozenset({"region", "project"})
    libraries = ("anthropic", "google-auth")
    cloud = "Google Cloud"

    def __init__(self, *, project: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.project = project

    @classmethod
    def from_config(cls, config: ProviderConfig, environ: Mapping[str, str]) -> Self:
        """Raises `InputError` for a region or project that is missing or none, and where google-auth is missing."""
        _needs("google.auth", "vertex", f"{cls.title}: Google Cloud's credentials")
        region = _checked("region", config.options.get("region") or environ.get("CLOUD_ML_REGION"), "CLOUD_ML_REGION")
        project = config.options.get("project") or environ.get("ANTHROPIC_VERTEX_PROJECT_ID")
        project = _checked("project", project or environ.get("GOOGLE_CLOUD_PROJECT"), "ANTHROPIC_VERTEX_PROJECT_ID")
        url = environ.get("ANTHROPIC_VERTEX_BASE_URL")
        return cls(project=project, region=region, url=url, timeout=config.timeout, structured=config.structured)

    def sdk(self) -> Any:
        from anthropic import AsyncAnthropicVertex

        return AsyncAnthropicVertex(
            region=self.region,
            project_id=self.project,
            base_url=self._url or None,
        )


def _checked(option: str, value: object, variable: str) -> str:
    """Raises `InputError` for a name that is missing or could lead elsewhere."""
    if not value:
        raise InputError(
            f"provider.options.{option}: missing",
            hint=f"Give it in the recipe, or in the environment: export {variable}=...",
        )
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InputError(f"provider.options.{option}: {one_line(str(value), 60)!r} is not a valid {option}")
    return value


def _profiles_region(environ: Mapping[str, str]) -> str | None:
    """The region of the user's profile in ~/.aws/config."""
    if find_spec("boto3") is None:
        return None
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        found: str | None = boto3.Session(profile_name=environ.get("AWS_PROFILE")).region_name
    except BotoCoreError as error:
        raise InputError(
            f"AWS's configuration cannot be read: {error}", hint="Correct AWS_PROFILE or ~/.aws."
        ) from error
    return found


def _needs(module: str, extra: str, what: str) -> None:
    try:
        found = find_spec(module)
    except ModuleNotFoundError:  # of the package above it
        found = None
    if found is None:
        raise InputError(
            f"{what} needs a package that is not installed", hint=f'Install it: pip install "anthropic[{extra}]"'
        )
