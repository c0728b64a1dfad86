"""Adam, AdamW and SGD with momentum, as torch defines them, in place, with a recipe of its own for each instance."""

import torch
from torch import Tensor

from toysup.instances import Instances
from toysup.recipes import TrainingSpec


class Optimizer:
    """Steps a dict of parameters whose first axis is the instance. Equal recipes step as torch.optim does."""

    def __init__(self, instances: Instances, parameters: dict[str, Tensor]) -> None:
        self.training: TrainingSpec = instances.training
        self.parameters = parameters
        self.decays = bool(instances.hyperparameters["weight_decay"].any())
        self.factor = instances.training.learning_rate_factor()
        # torch computes its scalars in double precision; a float32 table would differ in the last digits.
        self.hyper = {
            name: {key: _aligned(value, parameter) for key, value in instances.hyperparameters.items()}
            for name, parameter in parameters.items()
        }
        self.first = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        self.second = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}

    def step(self, step: int, gradients: dict[str, Tensor]) -> None:
        """Move the parameters against `gradients`; `step` counts from 0."""
        for name, gradient in gradients.items():
            rate = self.hyper[name]["learning_rate"] * self.factor[step]
            decay = self.hyper[name]["weight_decay"]
            parameter = self.parameters[name]
            if self.training.optimizer == "adamw":
                parameter.mul_((1 - rate * decay).to(parameter.dtype))
            elif self.decays:
                gradient = gradient + decay.to(parameter.dtype) * parameter
            if self.training.optimizer == "sgd":
                moved = self.first[name].mul_(self.hyper[name]["momentum"].to(parameter.dtype)).add_(gradient)
                parameter.sub_(moved * rate.to(parameter.dtype))
            else:
                self._adam(name, gradient, rate, step + 1)

    def _adam(self, name: str, gradient: Tensor, rate: Tensor, count: int) -> None:
        """p ← p − rate/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε), with m and v the running means of g and g²."""
        dtype, hyper = gradient.dtype, self.hyper[name]
        beta1, beta2 = hyper["beta1"], hyper["beta2"]
        first, second = self.first[name], self.second[name]
        first.mul_(beta1.to(dtype)).add_(gradient * (1 - beta1).to(dtype))
        second.mul_(beta2.to(dtype)).add_(gradient.square().mul_((1 - beta2).to(dtype)))
        scale = second.sqrt().div_((1 - beta2**count).sqrt().to(dtype)).add_(self.training.epsilon)
        self.parameters[name].sub_((rate / (1 - beta1**count)).to(dtype) * first / scale)


def _aligned(value: object, parameter: Tensor) -> Tensor:
    """(instance,) → (instance, 1, ...), to broadcast against the parameter."""
    tensor = torch.as_tensor(value, dtype=torch.float64, device=parameter.device)
    return tensor.reshape(-1, *[1] * (parameter.ndim - 1))
