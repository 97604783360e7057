"""Muon for the convolutions of a network, Nesterov SGD for everything else.

After Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024, kellerjordan.github.io/posts/muon)
and KellerJordan/cifar10-airbench. The higher learning rate of biases was introduced by Page, "How to train your ResNet"
(2018). Keras's own Muon uses AdamW for 4-D kernels.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

# coefficients of the Newton-Schulz iteration, which moves all singular values towards 1; from the same source
A, B, C = 3.4445, -4.7750, 2.0315
STEPS = 3


class Muon(keras.optimizers.Optimizer):
    """Makes the update of each convolution kernel orthogonal, and keeps its Frobenius norm at sqrt(filters).

    learning_rate, momentum: of SGD. kernel_ratio, bias_ratio: the learning rates of kernels and biases relative to
    learning_rate, so that one schedule applies to all. dtype: of the matrix products, as of the network's.
    """

    def __init__(
        self,
        learning_rate: Any,
        *,
        momentum: float,
        kernel_ratio: float,
        kernel_momentum: float,
        bias_ratio: float,
        dtype: str = "float32",
        **keywords: Any,
    ) -> None:
        super().__init__(learning_rate, name="muon", **keywords)
        self.momentum, self.bias_ratio, self.dtype = momentum, bias_ratio, dtype
        self.kernel_ratio, self.kernel_momentum = kernel_ratio, kernel_momentum

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.momenta = [self.add_variable_from_reference(variable, name="momentum") for variable in variables]

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        is_kernel = len(variable.shape) == 4
        decay = self.kernel_momentum if is_kernel else self.momentum
        momentum = self.momenta[self._get_variable_index(variable)]
        self.assign(momentum, decay * momentum + gradient)
        step = gradient + decay * momentum
        if is_kernel:
            norm = math.sqrt(variable.shape[-1]) / _norm(variable)
            self.assign(variable, variable * norm - rate * self.kernel_ratio * orthogonal(step, self.dtype))
        else:
            ratio = self.bias_ratio if len(variable.shape) == 1 else 1
            self.assign_sub(variable, rate * ratio * step)

    def get_config(self) -> dict[str, Any]:
        names = ("momentum", "kernel_ratio", "kernel_momentum", "bias_ratio", "dtype")
        return super().get_config() | {name: getattr(self, name) for name in names}


def orthogonal(step: Any, dtype: str = "float32") -> Any:
    """Make a tensor (height, width, in, out), as a matrix (out, in*height*width), approximately orthogonal.

    Uses Newton-Schulz iteration in `dtype`. The singular values are then between about 0.5 and 1.2.
    """
    height, width, channels, filters = step.shape
    matrix = ops.reshape(step, (height * width * channels, filters))
    wide = filters <= height * width * channels
    matrix = ops.transpose(matrix) if wide else matrix
    matrix = ops.cast(matrix / (_norm(matrix) + 1e-7), dtype)
    for _ in range(STEPS):
        gram = ops.matmul(matrix, ops.transpose(matrix))
        matrix = A * matrix + ops.matmul(B * gram + C * ops.matmul(gram, gram), matrix)
    matrix = ops.transpose(matrix) if wide else matrix
    return ops.cast(ops.reshape(matrix, step.shape), step.dtype)


def _norm(tensor: Any) -> Any:
    """The Frobenius norm."""
    return ops.sqrt(ops.sum(ops.square(tensor)))
