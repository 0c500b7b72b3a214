"""Ways to reach a language model, each one file. To add one, register a class:

    from dprm_data.extend import Answer, BaseProvider, Request, Usage, provider

    @provider("ours")                       # recipes say  provider: {name: ours, model: ..., options: {region: ...}}
    class Ours(BaseProvider):
        has_logprobs = False                # facts about it: `BaseProvider` lists them, with their defaults
        options = frozenset({"region"})

        def __init__(self, region): ...

        @classmethod
        def from_config(cls, config, environ):
            return cls(config.options.get("region", "us-east-1"))

        async def complete(self, request):  # raises CallFailed("rate_limit", "...") and the like
            ...
            return Answer(text, "stop", Usage(input_tokens, output_tokens), request.model)

A server that speaks OpenAI's language is a subclass of `OpenAIProvider` with its own `key_variable` and `default_url`. The package that
has the class names its module in the entry-point group `dprm_data` (`dprm_data.core.registry`), and `dprm` finds it.
"""
