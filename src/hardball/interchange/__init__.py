"""Networks to other programs and from them: exported programs, and models made elsewhere"""

from hardball.interchange.export import Exported, export

__all__ = ["Exported", "export"]
