"""Camera sensor: motion blur, rolling shutter, exposure, noise and JPEG."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import PinholeCamera

SAMPLES = 5  # moments of an exposure
DT = 0.005  # seconds over which the camera's velocity is taken
SHARP = 0.25  # pixels of motion that leave a picture as it is


class Path(Protocol):
    """Path of a camera."""

    def at(self, t: float) -> NDArray[np.float64]:
        """Pose T_world_camera (4, 4) at time t in seconds."""


class Sensor(NamedTuple):
    """Properties of a camera that change the picture, and nothing of the truth.

    Attributes:
        exposure: seconds; blurs what the camera's motion moves.
        readout: seconds from the first row to the last, 0 for a global shutter.
        level: brightness that automatic exposure aims at, 1 is white.
        zeal: of automatic exposure: 0 takes the light as it is, 1 reaches the level.
        gamma: exponent of the brightness.
        saturation: 0 is grey, 1 leaves the colours.
        vignette: loss of light in the corners.
        noise: standard deviations of dark noise and of shot noise at white.
        quality: of JPEG, from 1 to 100; 0 is not compressed.
        seed: of the noise.
    """

    exposure: float
    readout: float
    level: float
    zeal: float
    gamma: float
    saturation: float
    vignette: float
    noise: tuple[float, float]
    quality: int
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Sensor:
        """Draw a camera, from a good one in the light to a poor one in the dark."""
        return cls(
            exposure=float(rng.choice([0.0, rng.uniform(0, 0.04)])),
            readout=float(rng.choice([0.0, rng.uniform(0.005, 0.033)])),
            level=rng.uniform(0.3, 0.55),
            zeal=rng.uniform(0.4, 1.0),
            gamma=float(np.exp(rng.normal(0, 0.15))),
            saturation=rng.uniform(0.3, 1.1),
            vignette=float(rng.choice([0.0, rng.uniform(0, 0.4)])),
            noise=(rng.uniform(0, 0.01), float(rng.choice([0.0, rng.uniform(0, 0.03)]))),
            quality=int(rng.choice([0, rng.integers(35, 96)])),
            seed=int(rng.integers(1 << 32)),
        )

    def expose(
        self, rgb: NDArray[np.uint8], depth: NDArray, camera: PinholeCamera, path: Path, t: float
    ) -> NDArray[np.uint8]:
        """Take a picture whose middle row is read at time t.

        Args:
            rgb: the sharp picture at time t, (H, W, 3).
            depth: metres, (H, W).
            camera: intrinsics of both.
            path: path of the camera, which blurs and shears the picture; bodies move with it.
            t: seconds.
        """
        rng = np.random.default_rng([self.seed, round(1e6 * t)])
        image = self._moved(rgb.astype(np.float32) / 255, depth, camera, path, t)
        gain = (self.level / max(float(image.mean()), 0.05)) ** self.zeal
        radius = np.linalg.norm(_rays(camera)[..., :2], axis=-1, keepdims=True)
        image = image * (gain * (1 - self.vignette * (radius / radius.max()) ** 2))
        image = np.clip(image, 0, 1) ** np.float32(self.gamma)
        grey = image.mean(-1, keepdims=True)
        image = grey + self.saturation * (image - grey)
        dark, shot = self.noise
        deviation = np.sqrt(dark**2 + shot**2 * grey)
        image = image + deviation * rng.standard_normal(image.shape, np.float32)
        out = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
        if not self.quality:
            return out
        bgr = cv2.cvtColor(out, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, self.quality))
        return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def _moved(
        self, image: NDArray, depth: NDArray, camera: PinholeCamera, path: Path, t: float
    ) -> NDArray[np.float32]:
        """Mean of the picture over the exposure of each row."""
        before, after = path.at(t - DT), path.at(t + DT)
        turn = Rotation.from_matrix(before[:3, :3].T @ after[:3, :3]).as_rotvec() / (2 * DT)
        speed = path.at(t)[:3, :3].T @ (after - before)[:3, 3] / (2 * DT)
        rays = _rays(camera)
        velocity = np.cross(turn, rays) + speed / depth[..., None]  # of rays, per second
        velocity = velocity[..., :2] - rays[..., :2] * velocity[..., 2:]
        flow = velocity * (camera.fx, camera.fy)
        height, width = depth.shape
        v, u = np.mgrid[:height, :width]
        rows = self.readout * ((v + 0.5) / height - 0.5)
        reach = np.linalg.norm(flow, axis=-1).max() * max(self.exposure, self.readout) / 2
        if reach < SHARP:
            return image
        moments = np.linspace(-0.5, 0.5, SAMPLES) if self.exposure else np.zeros(1)
        total = np.zeros_like(image)
        for moment in self.exposure * moments:
            x, y = (
                (at + flow[..., i] * (rows + moment)).astype(np.float32)
                for i, at in enumerate((u, v))
            )
            total += cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return total / len(moments)


def _rays(camera: PinholeCamera) -> NDArray[np.float64]:
    """Directions (H, W, 3) of all pixels, z = 1."""
    v, u = np.mgrid[: camera.height, : camera.width]
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    return np.stack([x, y, np.ones_like(x)], -1)
