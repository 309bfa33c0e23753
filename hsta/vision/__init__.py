"""Computer vision: frames, faces, alignment, flow. Knows neither Ray nor torch.

from hsta.vision.clip import prepare_clip        a Clip to a PreparedClip or a RejectedClip
from hsta.vision.faces import FaceFinder         faces and landmarks, one a process
from hsta.vision.recipe import PrepareRecipe     every choice that changes a prepared pixel
from hsta.vision.magnify import magnify          Eulerian magnification of an aligned clip
from hsta.vision.flow import optical_flow, optical_strain, flow_to_rgb
"""
