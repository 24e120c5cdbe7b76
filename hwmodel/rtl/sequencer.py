"""The sequencer of a small array: the loops of a layer as counters, from one `start` to `busy` falling.

    for each tile of filters: for each tile of windows: for each pair of bits (falling i + j): for each pass over the reduction

It addresses the memory that stands outside (tile, pass, bit), clears and doubles the sums, negates at bits of signs, and says `valid`
in the cycle after which the sums of a tile stand. Counts come in as their last value.
"""

from .unit import Ports

TILE_BITS, PASS_BITS, WIDTH_BITS = 8, 12, 4
LASTS = {
    "last_filter_tile": TILE_BITS, "last_window_tile": TILE_BITS, "last_pass": PASS_BITS, "last_weight_bit": WIDTH_BITS,
    "last_activation_bit": WIDTH_BITS,
}  # fmt: skip
ADDRESSES = {
    "filter_tile": TILE_BITS,
    "window_tile": TILE_BITS,
    "pass": PASS_BITS,
    "weight_bit": WIDTH_BITS,
    "activation_bit": WIDTH_BITS,
}


def sequencer(ports: Ports) -> str:
    """Return the module `sequencer` for a kind of unit."""
    inputs = "".join(f"input [{bits - 1}:0] {name}, " for name, bits in LASTS.items())
    outputs = ", ".join(f"output reg [{bits - 1}:0] {name}" for name, bits in ADDRESSES.items())
    weight_sign = "(weight_bit == last_weight_bit)" if ports.serial_weights else "1'b0"
    activation_sign = "(signed_activations & (activation_bit == last_activation_bit))" if ports.serial_activations else "1'b0"
    return f"""// loops of a layer: filter tiles, window tiles, pairs of bits by falling sum, passes
module sequencer(input clk, input start, input signed_activations, {inputs}
                 output reg busy, {outputs}, output clear, output double, output negate, output valid);
  reg is_new;
  wire ends_passes = pass == last_pass;
  wire ends_pairs = (weight_bit == 0) & (activation_bit == 0);
  wire ends_windows = window_tile == last_window_tile;
  wire ends_filters = filter_tile == last_filter_tile;
  wire first_pair = (weight_bit == last_weight_bit) & (activation_bit == last_activation_bit);
  wire stays = (weight_bit != last_weight_bit) & (activation_bit != 0);
  wire [{WIDTH_BITS}:0] below = weight_bit + activation_bit - 1;
  wire over = below > last_activation_bit;
  assign clear = first_pair & (pass == 0);
  assign double = is_new & (pass == 0) & ~first_pair;
  assign negate = {weight_sign} ^ {activation_sign};
  assign valid = busy & ends_passes & ends_pairs;
  always @(posedge clk)
    if (start) begin
      busy <= 1; filter_tile <= 0; window_tile <= 0; pass <= 0; is_new <= 1;
      weight_bit <= last_weight_bit; activation_bit <= last_activation_bit;
    end else if (busy) begin
      if (~ends_passes) pass <= pass + 1;
      else begin
        pass <= 0;
        if (~ends_pairs) begin
          weight_bit <= stays ? weight_bit + 1 : over ? below - last_activation_bit : 0;
          activation_bit <= stays ? activation_bit - 1 : over ? last_activation_bit : below;
          is_new <= ~stays;
        end else begin
          weight_bit <= last_weight_bit; activation_bit <= last_activation_bit; is_new <= 1;
          window_tile <= ends_windows ? 0 : window_tile + 1;
          if (ends_windows) begin
            filter_tile <= filter_tile + 1;
            if (ends_filters) busy <= 0;
          end
        end
      end
    end
endmodule
"""
