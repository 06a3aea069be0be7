"""``edgekit review``: a person's word on what mining was not sure of. Light: what is heavy waits for its use."""

from edgekit.review.config import ReviewConfig

__all__ = ["ReviewConfig", "review"]


def __getattr__(name: str):
    if name == "review":
        from edgekit.review.run import review

        return review
    raise AttributeError(name)
