import NormaNN
import NormaNormalization
import NormaTensor

/// Style transfer to any style image: the features of the content take the mean and deviation of the style's, channel by channel,
/// and a decoder makes an image of them.
///
/// Content [N, C, H, W] and style [N, C, H′, W′] of images in 0…1 → the content's shape, near 0…1 once trained. The encoder is a
/// ``FeatureNetwork`` up to one of its stages, frozen and always in evaluation mode; the decoder mirrors it with nearest-neighbour
/// enlargement for pooling, convolutions mirrored at the border, and no norm, since that would bring all images to one
/// style. Where the poolings do not divide an extent, the content is mirrored beyond its end and the result cut.
///
/// Keys: the encoder's under `encoder.…`, and `decoder.0.conv.weight`, ….
///
/// Huang & Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization".
public final class AdaptiveStyleNetwork: Module {
  public struct Options: Sendable {
    /// The encoder's. The paper has VGG-19.
    public var features = FeatureNetwork.Options()
    /// The encoder's last stage.
    public var stage = "relu4_1"

    public init() {}

    /// Checks the options without making the network.
    /// - Throws: ``NetworkError`` for an option that cannot be; ``NormalizationError`` for a norm that does not fit the channels.
    public func validate() throws {
      try features.validate()
      _ = try features.index(of: stage)
    }
  }

  public let options: Options
  public let encoder: FeatureNetwork
  public let decoder: [StyleConvolution]
  /// Poolings before the stage.
  private let poolings: Int

  /// - Parameters:
  ///   - generator: draws the weights, on the CPU. The encoder's are to be replaced by trained ones.
  ///   - dropoutGenerator: unused; the network has no dropout.
  /// - Throws: as ``Options/validate()``.
  public init(
    _ options: Options = Options(), generator: Generator? = nil, dropoutGenerator: Generator? = nil
  ) throws {
    try options.validate()
    self.options = options
    encoder = try FeatureNetwork(options.features, generator: generator)
    for parameter in encoder.parameters { try parameter.freeze() }
    let last = try options.features.index(of: options.stage)
    var decoder: [StyleConvolution] = []
    var (poolings, convolutions) = (0, 0)
    var mirrored: [(inputs: Int, outputs: Int, upsampling: Int)] = []
    for layer in encoder.features where convolutions <= last {
      if let conv = layer as? Convolution {
        let shape = conv.weight.value.shape
        mirrored.append((shape[0], shape[1], 1))
        convolutions += 1
      } else if layer is MaxPool {
        mirrored[mirrored.count - 1].upsampling = 2
        poolings += 1
      }
    }
    for (index, conv) in mirrored.reversed().enumerated() {
      decoder.append(
        try StyleConvolution(
          conv.inputs, conv.outputs, upsampling: conv.upsampling,
          activation: index == mirrored.count - 1 ? .none : .relu, generator: generator))
    }
    self.decoder = decoder
    self.poolings = poolings
  }

  /// - Parameter strength: how far the features go from the content's own, 0, to the style's statistics, 1.
  public func callAsFunction(_ content: Tensor, style: Tensor, strength: Double = 1) throws -> Tensor {
    try transferred(content, style: style, strength: strength).image
  }

  /// The image, and the features that the decoder made it of, which are the target of the content loss (eq. 12).
  public func transferred(_ content: Tensor, style: Tensor, strength: Double = 1) throws -> (
    image: Tensor, features: Tensor
  ) {
    let (shape, step) = (content.shape, 1 << poolings)
    guard shape.count == 4, style.rank == 4, style.shape.prefix(2) == shape.prefix(2),
      (shape.dropFirst(2) + style.shape.dropFirst(2)).allSatisfy({ $0 > step })
    else {
      throw NetworkError(
        "content and style [N, C, H, W] of equal N and C with extents above \(step) were expected, got \(shape) and "
          + "\(style.shape)")
    }
    guard strength.isFinite else { throw NetworkError("a finite strength was expected, got \(strength)") }
    let features = try withoutGradients {
      func encoded(_ image: Tensor) throws -> Tensor {
        try encoder.fixedActivations(of: image, stages: [options.stage])[0]
      }
      let missing = [3, 2].flatMap { [0, (step - shape[$0] % step) % step] }
      let plain = try encoded(missing.contains { $0 > 0 } ? content.paddedByReflection(missing) : content)
      let styled = try plain.adaptiveInstanceNormalized(to: encoded(style))
      return strength == 1 ? styled : try styled * strength + plain * (1 - strength)
    }
    let image = try decoder.reduce(features) { try $1($0) }.cut(to: shape)
    return (image, features)
  }
}

extension AdaptiveStyleNetwork.Options {
  private static let prefix = "encoder_"

  /// The options by the names that weight files carry in their metadata, the encoder's after `encoder_`.
  public var metadata: [String: String] {
    var values = ["architecture": "style-adaptive", "stage": stage]
    for (key, value) in features.metadata { values[Self.prefix + key] = value }
    return values
  }

  /// Reads ``metadata``. Names that are missing leave the defaults.
  /// - Throws: ``NetworkError`` for another architecture or a value that cannot be; `NormalizationError` for a normalization that
  ///   does not exist.
  public init(metadata: [String: String]) throws {
    self.init()
    let values = try NetworkMetadata(metadata, of: "style-adaptive")
    let encoder = metadata.filter { $0.key.hasPrefix(Self.prefix) }.map {
      ($0.key.dropFirst(Self.prefix.count), $0.value)
    }
    features = try FeatureNetwork.Options(
      metadata: Dictionary(uniqueKeysWithValues: encoder.map { (String($0), $1) }))
    stage = try values.value("stage", features.stages.joined(separator: " or "), stage) { features.stages.contains($0) }
  }
}
