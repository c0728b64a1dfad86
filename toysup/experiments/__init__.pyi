from .model import Parameter as Parameter
from .model import bias as bias
from .model import context_weights as context_weights
from .model import weights as weights
