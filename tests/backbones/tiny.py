"""Tiny pipelines of each family with random weights, built in memory: 16 px images, latents of 8 x 8."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    IFPipeline,
    IFSuperResolutionPipeline,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from tests.conftest import TEXT_LENGTH, WORDS, build_scheduler, build_tokenizer

T5_LENGTH = 20  # the families' own are slow


def build_t5_tokenizer(length: int = T5_LENGTH) -> T5TokenizerFast:
    """WORDS as whole pieces and single letters; other characters are unknown."""
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    pieces = [*marks, *((f"▁{word}", -1.0) for word in WORDS if len(word) > 1), *letters]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=length)


def build_clip(kind: type, width: int, layers: int = 2) -> Any:
    tokenizer = build_tokenizer()
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=2,
            projection_dim=width,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).eval()


def build_t5(width: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(build_t5_tokenizer()),
            d_model=width,
            d_kv=width // 2,
            d_ff=2 * width,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    ).eval()


def build_vae(channels: int = 4, **changes: Any) -> AutoencoderKL:
    settings = {"scaling_factor": 0.7, "shift_factor": 0.1}
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=channels,
        norm_num_groups=4,
        **{**settings, **changes},
    ).eval()


def build_sdxl(**scheduler: Any) -> StableDiffusionXLPipeline:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16 + 24,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
        ).eval()
        return StableDiffusionXLPipeline(
            vae=build_vae(shift_factor=None),
            text_encoder=build_clip(CLIPTextModel, 16),
            text_encoder_2=build_clip(CLIPTextModelWithProjection, 24),
            tokenizer=build_tokenizer(),
            tokenizer_2=build_tokenizer(),
            unet=unet,
            scheduler=build_scheduler(**scheduler),
            add_watermarker=False,
        )


def build_sd3(*, t5: bool = True, **scheduler: Any) -> StableDiffusion3Pipeline:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            num_layers=3,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=64,
            caption_projection_dim=16,
            pooled_projection_dim=16 + 24,
            out_channels=4,
            pos_embed_max_size=8,
            qk_norm="rms_norm",
            dual_attention_layers=(0,),
        ).eval()
        return StableDiffusion3Pipeline(
            transformer=transformer,
            vae=build_vae(),
            text_encoder=build_clip(CLIPTextModelWithProjection, 16),
            text_encoder_2=build_clip(CLIPTextModelWithProjection, 24),
            text_encoder_3=build_t5(64) if t5 else None,
            tokenizer=build_tokenizer(),
            tokenizer_2=build_tokenizer(),
            tokenizer_3=build_t5_tokenizer() if t5 else None,
            scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler}),
        )


def build_flux(*, guidance_embeds: bool = True, **scheduler: Any) -> FluxPipeline:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=64,
            pooled_projection_dim=16,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=(2, 2, 4),
        ).eval()
        pipeline = FluxPipeline(
            transformer=transformer,
            vae=build_vae(),
            text_encoder=build_clip(CLIPTextModel, 16),
            text_encoder_2=build_t5(64),
            tokenizer=build_tokenizer(),
            tokenizer_2=build_t5_tokenizer(),
            scheduler=FlowMatchEulerDiscreteScheduler(
                **{
                    "shift": 3.0,
                    "use_dynamic_shifting": True,
                    "base_image_seq_len": 4,
                    "max_image_seq_len": 64,
                    **scheduler,
                }
            ),
        )
    pipeline.default_sample_size = 8
    return pipeline


# Qwen's own for one question, without what it does with longer conversations.
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)


def build_qwen_tokenizer() -> Qwen2Tokenizer:
    """Single bytes, WORDS after a blank (as CLIP's tokenizer has them) and the marks of a conversation."""
    letters = sorted(token for token in build_tokenizer().get_vocab() if len(token) == 1)
    merges = []
    for word in WORDS:
        left = "Ġ"
        for letter in word:
            merges.append((left, letter))
            left += letter
    tokens = [*letters, *(left + right for left, right in merges)]
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(dict.fromkeys([*tokens, *marks]))},
        merges=list(dict.fromkeys(merges)),
        additional_special_tokens=marks[1:],
        chat_template=CHAT,
    )


def build_z_image(**scheduler: Any) -> ZImagePipeline:
    tokenizer = build_qwen_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text_encoder = Qwen3Model(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=16,
                initializer_range=0.5,
            )
        ).eval()
        # Tokens of a language model are large, and one of them far larger than the others.
        with torch.no_grad():
            text_encoder.embed_tokens.weight *= 20
            text_encoder.embed_tokens.weight[tokenizer.convert_tokens_to_ids("<|im_start|>")] *= 100
        transformer = ZImageTransformer2DModel(
            in_channels=4,
            dim=16,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=32,
            axes_dims=[4, 2, 2],
            axes_lens=[600, 16, 16],
        ).eval()
        for token in (transformer.x_pad_token, transformer.cap_pad_token):
            torch.nn.init.normal_(token, std=0.5)
        return ZImagePipeline(
            transformer=transformer,
            vae=build_vae(),
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler}),
        )


def build_if_scheduler(**changes: Any) -> DDIMScheduler:
    """IF's noise, for pipelines to take DDIM's steps in; its checkpoints come with DDPM's, which draw more of it."""
    settings = {
        "beta_schedule": "squaredcos_cap_v2",
        "thresholding": True,
        "dynamic_thresholding_ratio": 0.95,
        "sample_max_value": 1.5,
    }
    written = DDPMScheduler(**{**settings, "variance_type": "learned_range", **changes})
    return DDIMScheduler.from_config({**written.config, "variance_type": "fixed_small"})


def build_if_unet(side: int, **changes: Any) -> UNet2DConditionModel:
    """In IF's layout: text by its own projection and pooling, keys and values of the text beside those of the image."""
    settings = {
        "sample_size": side,
        "in_channels": 3,
        "out_channels": 6,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "cross_attention_dim": 32,
        "encoder_hid_dim": 16,
        "attention_head_dim": 4,
        "addition_embed_type": "text",
        "addition_embed_type_num_heads": 2,
        "cross_attention_norm": "group_norm",
        "resnet_time_scale_shift": "scale_shift",
        "act_fn": "gelu",
    }
    return UNet2DConditionModel(**{**settings, **changes}).eval()


def build_if(side: int = 16, **scheduler: Any) -> IFPipeline:
    """The base, which makes pictures of this side."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return IFPipeline(
            tokenizer=build_t5_tokenizer(77),  # as much as the pipeline pads every text to
            text_encoder=build_t5(16),
            unet=build_if_unet(side),
            scheduler=build_if_scheduler(**scheduler),
            safety_checker=None,
            feature_extractor=None,
            watermarker=None,
            requires_safety_checker=False,
        )


def build_if_upper(side: int, **parts: Any) -> IFSuperResolutionPipeline:
    """A super-resolution stage that makes pictures of this side. Unless given, it has no text encoder."""
    with torch.random.fork_rng():
        torch.manual_seed(side)
        own = {
            "tokenizer": None,
            "text_encoder": None,
            "unet": build_if_unet(side, in_channels=6, class_embed_type="timestep"),
            "scheduler": build_if_scheduler(sample_max_value=1.0),
            "image_noising_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        }
        return IFSuperResolutionPipeline(
            **{**own, **parts},
            safety_checker=None,
            feature_extractor=None,
            watermarker=None,
            requires_safety_checker=False,
        )
