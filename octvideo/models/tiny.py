"""A small sibling of I3D R50, for the demo and for tests."""

from pytorchvideo.models.head import create_res_basic_head
from pytorchvideo.models.net import Net
from pytorchvideo.models.resnet import create_bottleneck_block, create_res_stage
from pytorchvideo.models.stem import create_res_basic_stem
from torch import nn


def i3d_tiny(*, model_num_class: int) -> Net:
    """I3D's stem, one bottleneck block a stage, and a quarter of the channels."""
    width = 16
    blocks: list[nn.Module] = [
        create_res_basic_stem(
            in_channels=3,
            out_channels=width,
            conv_kernel_size=(5, 7, 7),
            conv_stride=(1, 2, 2),
            conv_padding=(2, 3, 3),
            pool=nn.MaxPool3d,
            pool_kernel_size=(1, 3, 3),
            pool_stride=(1, 2, 2),
            pool_padding=(0, 1, 1),
        )
    ]
    dim_in, dim_out = width, 4 * width
    for stage in range(4):
        blocks.append(
            create_res_stage(
                depth=1,
                dim_in=dim_in,
                dim_inner=dim_out // 4,
                dim_out=dim_out,
                bottleneck=create_bottleneck_block,
                conv_a_kernel_size=(3, 1, 1),
                conv_a_stride=(1, 1, 1),
                conv_a_padding=(1, 0, 0),
                conv_b_stride=(1, 1, 1) if stage == 0 else (1, 2, 2),
            )
        )
        dim_in, dim_out = dim_out, 2 * dim_out
    blocks.append(
        create_res_basic_head(
            in_features=dim_in, out_features=model_num_class, pool=nn.AdaptiveAvgPool3d, dropout_rate=0.0
        )
    )
    return Net(blocks=nn.ModuleList(blocks))
