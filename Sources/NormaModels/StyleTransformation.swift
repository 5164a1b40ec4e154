import NormaNN
import NormaNormalization
import NormaTensor

/// The feed-forward network that paints an image in the style that it was trained for, or in one of several.
///
/// Input [N, C, H, W] of images in 0…1, H and W at least 5 → the same shape in 0…1. Convolution 9×9, two 3×3 with stride 2, residual
/// blocks of two 3×3, two stages of nearest-neighbour enlargement and 3×3, convolution 9×9; all but the last with norm and ReLU,
/// the norm before a residual sum without. Images are mirrored at their border. Where 4 does not divide an extent, the
/// result is cut.
///
/// With ``Options/styles`` above 1 the norms are ``ConditionalInstanceNorm``, and calls name the style:
/// `network(images, styles: [2, 0])` or `network(images, blend: shares)`.
///
/// Keys: `encoder.0.conv.weight`, `encoder.0.norm.weight`, `blocks.0.conv1.conv.weight`, `decoder.0.…`, `output.conv.weight`;
/// norms of several styles have `scales` and `shifts`.
///
/// Johnson et al. 2016, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution" (with nearest-neighbour enlargement in
/// the place of transposed convolutions); Ulyanov et al. 2016 for instance normalization; Dumoulin et al. 2017 for several styles.
public final class TransformationNetwork: Module, Layer {
  /// What brings the result to 0…1.
  public enum Output: String, Sendable, CaseIterable {
    case sigmoid
    /// (tanh + 1) / 2.
    case tanh
  }

  public struct Options: Sendable {
    /// Of input and output.
    public var channels = 3
    /// Channels of the first stage; the inner ones have four times as many.
    public var width = 32
    /// Residual blocks.
    public var blocks = 5
    public var normalization = Normalization.instance
    /// Above 1 the norms have scales and shifts per style, for which the normalization must be `instance`.
    public var styles = 1
    public var output = Output.sigmoid

    public init() {}

    static let channelRange = 1...4096
    static let widthRange = 1...1024
    static let blockRange = 0...64
    static let styleRange = 1...4096

    /// Checks the options without making the network.
    /// - Throws: ``NetworkError`` for an option that cannot be; ``NormalizationError`` for a norm that does not fit the channels or
    ///   cannot do without its activation.
    public func validate() throws {
      try NetworkError.check("channels", channels, in: Self.channelRange)
      try NetworkError.check("width", width, in: Self.widthRange)
      try NetworkError.check("blocks", blocks, in: Self.blockRange)
      try NetworkError.check("styles", styles, in: Self.styleRange)
      guard styles == 1 || normalization == .instance else {
        throw NetworkError(
          "several styles are learned by conditional instance normalization; take the normalization 'instance' in the place of "
            + "'\(normalization.name)', or one style")
      }
      for factor in [1, 2, 4] { try normalization.check(channels: width * factor) }
      _ = try normalization.linearLayer(channels: 4 * width)
    }
  }

  public let options: Options
  public let encoder: [StyleConvolution]
  public let blocks: [StyleBlock]
  public let decoder: [StyleConvolution]
  public let output: StyleConvolution

  /// - Parameters:
  ///   - generator: draws the weights, on the CPU.
  ///   - dropoutGenerator: unused; the network has no dropout.
  /// - Throws: as ``Options/validate()``.
  public init(
    _ options: Options = Options(), generator: Generator? = nil, dropoutGenerator: Generator? = nil
  ) throws {
    try options.validate()
    self.options = options
    let width = options.width
    func block(
      _ inputs: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1, upsampling: Int = 1,
      activation: Activation = .relu
    ) throws -> StyleConvolution {
      let norm: Module? =
        options.styles > 1
        ? try ConditionalInstanceNorm(styles: options.styles, channels: outputs)
        : activation == .none
          ? try options.normalization.linearLayer(channels: outputs)
          : try options.normalization.layer(channels: outputs)
      return try StyleConvolution(
        inputs, outputs, kernel: kernel, stride: stride, upsampling: upsampling, norm: norm, activation: activation,
        generator: generator)
    }
    encoder = [
      try block(options.channels, width, kernel: 9), try block(width, 2 * width, stride: 2),
      try block(2 * width, 4 * width, stride: 2),
    ]
    blocks = try (0..<options.blocks).map { _ in
      StyleBlock(
        conv1: try block(4 * width, 4 * width), conv2: try block(4 * width, 4 * width, activation: .none))
    }
    decoder = [
      try block(4 * width, 2 * width, upsampling: 2), try block(2 * width, width, upsampling: 2),
    ]
    output = try StyleConvolution(
      width, options.channels, kernel: 9, activation: options.output == .sigmoid ? .sigmoid : .tanh,
      generator: generator)
  }

  /// - Throws: ``NetworkError`` for another shape, and with several styles, where the call has to name them.
  public func forward(_ input: Tensor) throws -> Tensor { try apply(input, style: nil) }

  /// - Parameter styles: the number of every sample's style, below ``Options/styles``.
  public func callAsFunction(_ input: Tensor, styles: [Int]) throws -> Tensor {
    try observed(input) { try apply(input, style: .numbers(styles)) }
  }

  /// - Parameter blend: [N, styles], how much of each style every sample gets.
  public func callAsFunction(_ input: Tensor, blend: Tensor) throws -> Tensor {
    try observed(input) { try apply(input, style: .blend(blend)) }
  }

  private func apply(_ input: Tensor, style: StyleSelection?) throws -> Tensor {
    let shape = input.shape
    guard shape.count == 4, shape[1] == options.channels, shape[2] >= 5, shape[3] >= 5 else {
      throw NetworkError(
        "the transformation network expected [N, \(options.channels), H, W] with H and W of at least 5, got \(shape)")
    }
    guard (style == nil) == (options.styles == 1) else {
      throw NetworkError(
        options.styles == 1
          ? "the transformation network has one style; call it without naming one"
          : "the transformation network has \(options.styles) styles; name every sample's by styles or a blend")
    }
    var x = input
    for layer in encoder { x = try layer.apply(x, style: style) }
    for block in blocks { x = try block.apply(x, style: style) }
    for layer in decoder { x = try layer.apply(x, style: style) }
    x = try output.apply(x, style: nil).cut(to: shape)
    return options.output == .sigmoid ? x : try x * 0.5 + 0.5
  }
}

/// A residual block: x plus two convolutions, without an activation after the sum.
public final class StyleBlock: Module, Layer {
  public let conv1: StyleConvolution
  public let conv2: StyleConvolution

  init(conv1: StyleConvolution, conv2: StyleConvolution) {
    self.conv1 = conv1
    self.conv2 = conv2
  }

  public func forward(_ input: Tensor) throws -> Tensor { try apply(input, style: nil) }

  func apply(_ input: Tensor, style: StyleSelection?) throws -> Tensor {
    try input + conv2.apply(conv1.apply(input, style: style), style: style)
  }
}

extension Tensor {
  /// The first rows and columns, as many as the shape has.
  func cut(to shape: [Int]) throws -> Tensor {
    try [2, 3].reduce(self) {
      $0.shape[$1] == shape[$1] ? $0 : try $0.sliced(0..<shape[$1], dimension: $1)
    }
  }
}

extension TransformationNetwork.Options {
  /// The options by the names that weight files carry in their metadata.
  public var metadata: [String: String] {
    [
      "architecture": "style", "channels": "\(channels)", "width": "\(width)", "blocks": "\(blocks)",
      "norm": normalization.name, "styles": "\(styles)", "output": output.rawValue,
    ]
  }

  /// Reads ``metadata``. Names that are missing leave the defaults.
  /// - Throws: ``NetworkError`` for another architecture or a value that cannot be; `NormalizationError` for a normalization that
  ///   does not exist.
  public init(metadata: [String: String]) throws {
    self.init()
    let values = try NetworkMetadata(metadata, of: "style")
    channels = try values.count("channels", in: Self.channelRange, channels)
    width = try values.count("width", in: Self.widthRange, width)
    blocks = try values.count("blocks", in: Self.blockRange, blocks)
    if let name = values["norm"] { normalization = try Normalization(parsing: name) }
    styles = try values.count("styles", in: Self.styleRange, styles)
    output = try values.choice("output", output)
  }
}
