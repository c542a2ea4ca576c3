"""Networks to other programs and from them: exported programs, and models made elsewhere"""

from hardball.interchange.export import Exported, export
from hardball.interchange.normalized import normalized
from hardball.interchange.timm_folder import from_timm_folder

__all__ = ["Exported", "export", "from_timm_folder", "normalized"]
