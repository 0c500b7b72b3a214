"""Elicitation: what an annotator is asked, and how the answer is read.

A new one is a class, in a module of this package or of any installed one that names it in the entry-point group `dprm_data`. Its prompt
stands in `stars.jinja` beside the module (`template.py` says what is in one). A recipe asks for it by `elicitation: stars`.

    from dprm_data.elicit.elicitation import Elicitation, Outcome, Question, elicitation, object_schema
    from dprm_data.elicit.parsing import Unreadable, json_object

    @elicitation("stars")
    class Stars(Elicitation):
        prompt = "stars.jinja"

        def questions(self, shuffle):
            return (Question(order=()),)  # one question that lists nothing

        def schema(self):
            return object_schema({"stars": {"type": "integer", "minimum": 1, "maximum": self.space.K}})

        def read(self, text):
            stars = json_object(text).get("stars")
            if stars not in range(1, self.space.K + 1):
                raise Unreadable(f"stars must be a whole number from 1 to {self.space.K}")
            return Outcome("ok", label=int(self.space.rewards.argsort()[int(stars) - 1]))

`elicitation.Elicitation` lists the facts a class can declare and what it can define; `logprobs` is the one that uses most of them.
"""
