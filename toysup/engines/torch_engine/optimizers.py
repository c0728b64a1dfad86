"""Adam, AdamW and SGD with momentum, as torch defines them, with separate hyperparameters for each instance."""

import torch
from torch import Tensor

from toysup.engines.instances import Instances
from toysup.experiments.recipe import TrainingSpec


class Optimizer:
    """An optimiser of a dict of parameters whose first axis is the instance; it steps as torch.optim does."""

    def __init__(self, instances: Instances, parameters: dict[str, Tensor]) -> None:
        self.training: TrainingSpec = instances.training
        self.parameters = parameters
        self.decays = bool(instances.hyperparameters["weight_decay"].any())
        device = next(iter(parameters.values())).device
        self.factor = torch.as_tensor(instances.training.learning_rate_factor(), device=device)
        # torch computes its scalars in double precision; a float32 table would differ in the last digits.
        self.hyper = {
            key: torch.as_tensor(value, dtype=torch.float64, device=device)
            for key, value in instances.hyperparameters.items()
        }
        rest = {f"rest{k}": 1 - self.hyper[f"beta{k}"] for k in (1, 2)}
        self.fixed = {name: _aligned(self.hyper | rest, parameter) for name, parameter in parameters.items()}
        self.first = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        self.second = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}

    def step(self, step: Tensor, gradients: dict[str, Tensor]) -> None:
        """Move the parameters against `gradients`, in place; `step` (1,) counts from 0 and stays on the device."""
        changing = self._changing(step)
        for name, gradient in gradients.items():
            parameter = self.parameters[name]
            numbers = self.fixed[name] | _aligned(changing, parameter)
            if self.training.optimizer == "adamw":
                parameter.mul_(numbers["kept"])
            elif self.decays:
                gradient = gradient + numbers["weight_decay"] * parameter
            if self.training.optimizer == "sgd":
                moved = self.first[name].mul_(numbers["momentum"]).add_(gradient)
                parameter.sub_(moved * numbers["rate"])
            else:
                self._adam(name, gradient, numbers)

    def _adam(self, name: str, gradient: Tensor, numbers: dict[str, Tensor]) -> None:
        """p ← p − rate/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε), with m and v the running means of g and g²."""
        first, second = self.first[name], self.second[name]
        first.mul_(numbers["beta1"]).add_(gradient * numbers["rest1"])
        second.mul_(numbers["beta2"]).add_(gradient.square().mul_(numbers["rest2"]))
        scale = second.sqrt().div_(numbers["correction2"]).add_(self.training.epsilon)
        self.parameters[name].sub_(numbers["rate"] * first / scale)

    def _changing(self, step: Tensor) -> dict[str, Tensor]:
        """The factors that change from step to step, each (instance,)."""
        rate = self.hyper["learning_rate"] * self.factor[step]
        if self.training.optimizer == "sgd":
            return {"rate": rate}
        correction1, correction2 = (1 - self.hyper[beta] ** (step + 1).double() for beta in ("beta1", "beta2"))
        changing = {"rate": rate / correction1, "correction2": correction2.sqrt()}
        if self.training.optimizer == "adamw":
            changing["kept"] = 1 - rate * self.hyper["weight_decay"]
        return changing


def _aligned(numbers: dict[str, Tensor], parameter: Tensor) -> dict[str, Tensor]:
    """(instance,) → (instance, 1, ...), to broadcast against the parameter, and of its dtype."""
    shape = (-1, *[1] * (parameter.ndim - 1))
    return {key: value.reshape(shape).to(parameter.dtype) for key, value in numbers.items()}
