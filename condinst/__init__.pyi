"""The public names of the package for editors and type checkers; ``__init__.py`` loads them on first use."""

from . import backends as backends
from . import data as data
from . import engine as engine
from . import evaluation as evaluation
from . import models as models
from . import ops as ops
from . import visualization as visualization
from .backends import use_backend as use_backend
from .classes import Classes as Classes
from .models import CondInst as CondInst
from .models import CondInstConfig as CondInstConfig
from .models import config_names as config_names
from .models import load_config as load_config
from .models.checkpoints import CheckpointError as CheckpointError
from .models.checkpoints import load as load
from .models.checkpoints import load_backbone as load_backbone
from .models.checkpoints import save_checkpoint as save_checkpoint

__version__: str
__all__: list[str]
