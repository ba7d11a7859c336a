"""A model in eval mode that shares the weights of one in any mode, and leaves the mode of that one alone."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def eval_view(module: ModuleT) -> ModuleT:
    """A module in eval mode with the parameters, buffers and hooks of another one.

    No flag of `module` is written, and none decides: threads may use views of it while others train it. A view is made
    for each use, in about 1 us per layer, a fifth of what ``eval()`` and ``train()`` take. So it follows whatever
    happened to the module before.

    Compiled code belongs to the module that it was compiled for. So a compiled module that is in eval mode throughout
    is returned itself, and the view of one in training mode is not compiled.
    """
    parts = list(module.modules())
    if any(map(_is_compiled, parts)) and not any(part.training for part in parts):
        return module
    return _view(module, {})


def _view(module: ModuleT, views: dict[nn.Module, nn.Module]) -> ModuleT:
    """`views` has those of modules that were met before, so that a layer in two places stays one layer."""
    compiled_from = module._modules.get("_orig_mod")
    if compiled_from is not None:  # of torch.compile(module)
        return _view(compiled_from, views)  # type: ignore[return-value]
    view = views.get(module)
    if view is None:
        view = views[module] = module.__new__(type(module))
        children = {name: None if child is None else _view(child, views) for name, child in module._modules.items()}
        # the dictionaries of parameters and buffers are the module's own; only what is named here differs
        attributes = {**module.__dict__, "_modules": children, "training": False}
        attributes.pop("_compiled_call_impl", None)  # of module.compile(), which runs the module itself
        object.__setattr__(view, "__dict__", attributes)
    return view  # type: ignore[return-value]


def _is_compiled(module: nn.Module) -> bool:
    return "_orig_mod" in module._modules or module._compiled_call_impl is not None
