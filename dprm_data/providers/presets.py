"""Providers by name that speak OpenAI's chat completions: their address, the variable of their key, and where they differ.

    provider: {name: openrouter, model: qwen/qwen3-32b}

One class per provider, and nothing but facts in it. Sources are the providers' API references; a test sends each dialect to a server
that refuses what the provider refuses.
"""

from __future__ import annotations

from typing import ClassVar

from dprm_data.providers.dialect import AZURE, Dialect
from dprm_data.providers.openai import OpenAIProvider
from dprm_data.providers.provider import provider


class Preset(OpenAIProvider):
    """A service: it needs its key, at its own address and at any other."""

    has_batches = False
    url_variable = None
    default_url = ""
    dialect: ClassVar[Dialect] = Dialect()


@provider("openrouter")
class OpenRouter(Preset):
    title = "OpenRouter"
    default_url = "https://openrouter.ai/api/v1"
    key_variable = "OPENROUTER_API_KEY"
    price_list = "openrouter"
    dialect = Dialect(most_logprobs=20)


@provider("gemini")
class Gemini(Preset):
    title = "Gemini's API"
    default_url = "https://generativelanguage.googleapis.com/v1beta/openai"
    key_variable = "GEMINI_API_KEY"
    price_list = "google"
    models_like = "gem"  # Google sells Claude, too, elsewhere
    has_logprobs = False
    dialect = Dialect(seed=None)


@provider("mistral")
class Mistral(Preset):
    title = "Mistral's API"
    default_url = "https://api.mistral.ai/v1"
    key_variable = "MISTRAL_API_KEY"
    price_list = "mistral"
    has_logprobs = False
    dialect = Dialect(seed="random_seed")


@provider("groq")
class Groq(Preset):
    title = "Groq"
    default_url = "https://api.groq.com/openai/v1"
    key_variable = "GROQ_API_KEY"
    price_list = "groq"
    has_logprobs = False  # asking for them is answered with 400
    dialect = Dialect(limit="max_completion_tokens")


@provider("deepseek")
class DeepSeek(Preset):
    title = "DeepSeek's API"
    default_url = "https://api.deepseek.com/v1"
    key_variable = "DEEPSEEK_API_KEY"
    price_list = "deepseek"
    dialect = Dialect(structured="json_object", seed=None, most_logprobs=20)


@provider("together")
class Together(Preset):
    title = "Together"
    default_url = "https://api.together.xyz/v1"
    key_variable = "TOGETHER_API_KEY"
    price_list = "together"
    has_logprobs = False  # `logprobs` is a number there, and alternatives are not in OpenAI's form


@provider("fireworks")
class Fireworks(Preset):
    title = "Fireworks"
    default_url = "https://api.fireworks.ai/inference/v1"
    key_variable = "FIREWORKS_API_KEY"
    price_list = "fireworks"
    dialect = Dialect(most_logprobs=5)


@provider("xai")
class XAI(Preset):
    title = "xAI's API"
    default_url = "https://api.x.ai/v1"
    key_variable = "XAI_API_KEY"
    price_list = "x-ai"
    dialect = Dialect(limit="max_completion_tokens", most_logprobs=8)


@provider("azure")
class Azure(Preset):
    """Its address holds the resource's name, so the recipe must give it."""

    title = "Azure OpenAI"
    key_variable = "AZURE_OPENAI_API_KEY"
    price_list = "azure"
    dialect = AZURE


class OwnServer(Preset):
    """A server that you run: no key, nothing billed per token."""

    is_free = True


@provider("ollama")
class Ollama(OwnServer):
    title = "Ollama"
    default_url = "http://localhost:11434/v1"


@provider("lmstudio")
class LMStudio(OwnServer):
    title = "LM Studio"
    default_url = "http://localhost:1234/v1"
    has_logprobs = False


@provider("vllm")
class VLLM(OwnServer):
    title = "vLLM"
    default_url = "http://localhost:8000/v1"


@provider("sglang")
class SGLang(OwnServer):
    title = "SGLang"
    default_url = "http://localhost:30000/v1"


@provider("llamacpp")
class LlamaCpp(OwnServer):
    title = "llama.cpp's server"
    default_url = "http://localhost:8080/v1"
