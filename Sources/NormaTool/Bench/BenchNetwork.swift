import ArgumentParser
import NormaModels
import NormaNormalization
import NormaTensor

/// The U-Net as the benchmarks measure it, and its input.
enum BenchNetwork {
  static func options(_ norm: Normalization, width: Int) -> UNet.Options {
    var options = UNet.Options()
    options.width = width
    options.normalization = norm
    options.dropout = 0
    options.head = .plain
    return options
  }

  static func make(_ norm: Normalization, width: Int) throws -> UNet {
    let model = try UNet(options(norm, width: width), generator: Generator(seed: 0))
    // As the trainer does.
    try model.to(memoryFormat: .channelsLast)
    return model
  }

  static func images(batchSize: Int, size: Int, dtype: BenchType, generator: Generator) throws -> Tensor {
    try Tensor.normal([batchSize, 1, size, size], generator: generator).to(dtype: dtype.dtype)
      .contiguous(.channelsLast)
  }

  /// - Throws: `ValidationError` for sizes that the network does not take or no machine holds.
  static func check(width: Int, size: Int, batchSize: Int) throws {
    try BenchOptions.check("--width", width, atMost: 1024)
    try BenchOptions.check("--batch-size", batchSize, atMost: 65_536)
    guard (16...65_536).contains(size), size % 16 == 0 else {
      throw ValidationError("--size must be a multiple of 16 in 16…65536, got \(size).")
    }
    guard width * size * size * batchSize <= 1 << 30 else {
      throw ValidationError(
        "\(batchSize) images of \(size)×\(size) at width \(width) make activations of more than 2³⁰ numbers; choose less."
      )
    }
  }
}
