"""I3D with non-local blocks: https://arxiv.org/abs/1711.07971."""

from pytorchvideo.layers.nonlocal_net import create_nonlocal
from pytorchvideo.models import hub
from pytorchvideo.models.net import Net
from pytorchvideo.models.resnet import ResStage
from torch import Tensor, nn

# After which residual blocks: every other one of res3 and res4, five in all (the paper's section 4.1; the
# places and the pooling are those of PySlowFast's I3D_NLN_8x8_R50.yaml). Numbers are pytorchvideo's block paths.
PLACES: dict[int, tuple[int, ...]] = {3: (1, 3), 4: (1, 3, 5)}


class NonLocalStage(nn.Module):
    """A residual stage with non-local blocks after some of its blocks.

    The residual blocks keep the paths that they have in I3D, so that its checkpoints start this network.
    """

    def __init__(self, stage: ResStage, places: tuple[int, ...]) -> None:
        super().__init__()
        self.res_blocks = stage.res_blocks
        channels = stage.res_blocks[0].branch2.conv_c.out_channels
        self.nonlocal_blocks = nn.ModuleDict()
        for place in places:
            block = create_nonlocal(dim_in=channels, dim_inner=channels // 2, pool_size=(1, 2, 2))
            # As PySlowFast: small weights, and a last norm of zero, so that the block starts as the identity.
            for conv in (block.conv_theta, block.conv_phi, block.conv_g, block.conv_out):
                nn.init.normal_(conv.weight, std=0.01)
                nn.init.zeros_(conv.bias)
            nn.init.zeros_(block.norm.weight)
            self.nonlocal_blocks[str(place)] = block

    def forward(self, x: Tensor) -> Tensor:
        for i, res_block in enumerate(self.res_blocks):
            x = res_block(x)
            if str(i) in self.nonlocal_blocks:
                x = self.nonlocal_blocks[str(i)](x)
        return x


def i3d_nl_r50(*, model_num_class: int) -> Net:
    """I3D R50 with five non-local blocks."""
    model = hub.i3d_r50(model_num_class=model_num_class)
    for stage, places in PLACES.items():
        model.blocks[stage] = NonLocalStage(model.blocks[stage], places)
    return model
