import NormaNN
import NormaNormalization
import NormaTensor

/// How far an image is from the content of one image and the style of another, seen through the features of a classifier.
///
/// - content: the mean squared difference of the features at one stage (Johnson et al. 2016, eq. 2);
/// - style: the difference of statistics of the features, summed over stages: of Gram matrices, squared and summed
///   (Johnson et al. 2016, eq. 3 and 4), or of the channels' means and deviations, as mean squares (Huang & Belongie 2017, eq. 13);
/// - total variation: the mean squared difference of neighbouring pixels along both axes.
///
/// All are means over the samples of a batch, and differentiable.
public struct PerceptualLoss {
  /// What style is.
  public enum StyleStatistic: String, Sendable, CaseIterable {
    case gram
    case moments
  }

  /// The factors of the sum.
  public struct Weights: Sendable {
    public var content: Double
    public var style: Double
    public var totalVariation: Double
    public init(content: Double = 1, style: Double = 1, totalVariation: Double = 0) {
      (self.content, self.style, self.totalVariation) = (content, style, totalVariation)
    }
  }

  /// The terms, unweighted, and their weighted sum.
  public struct Terms {
    public let content: Tensor
    public let style: Tensor
    public let totalVariation: Tensor
    public let total: Tensor
  }

  /// The statistics of style images, one row per image and a table per stage.
  public struct StyleTarget {
    public let statistics: [Tensor]
    var count: Int { statistics.first?.shape[0] ?? 0 }
  }

  public let features: FeatureNetwork
  public let contentStage: String
  public let styleStages: [String]
  public let weights: Weights
  public let statistic: StyleStatistic

  /// - Parameter features: frozen and put into evaluation mode, and not to be trained further.
  /// - Throws: ``NetworkError`` for an unknown stage, no style stages or a weight below 0.
  public init(
    features: FeatureNetwork, contentStage: String, styleStages: [String], weights: Weights = Weights(),
    statistic: StyleStatistic = .gram
  ) throws {
    for stage in [contentStage] + styleStages { _ = try features.options.index(of: stage) }
    let factors = [weights.content, weights.style, weights.totalVariation]
    guard !styleStages.isEmpty, factors.allSatisfy({ $0 >= 0 && $0.isFinite }) else {
      throw NetworkError(
        "at least one style stage and weights of at least 0 were expected, got \(styleStages) and \(factors)")
    }
    features.evaluate()
    for parameter in features.parameters { try parameter.freeze() }
    self.features = features
    self.contentStage = contentStage
    self.styleStages = styleStages
    self.weights = weights
    self.statistic = statistic
  }

  /// The target for style images [1 or more, C, H, W], which may differ in size: their samples are the styles, in order.
  public func styleTarget(_ images: [Tensor]) throws -> StyleTarget {
    guard !images.isEmpty else { throw NetworkError("at least one style image was expected") }
    return try withoutGradients {
      let tables = try images.map { image in
        try features.fixedActivations(of: image, stages: styleStages).map(measured)
      }
      return StyleTarget(
        statistics: try styleStages.indices.map { stage in
          try Tensor.concatenate(tables.map { $0[stage] }, dimension: 0)
        })
    }
  }

  /// The features that the content loss compares with, without gradients.
  public func contentTarget(_ image: Tensor) throws -> Tensor {
    try withoutGradients { try features.fixedActivations(of: image, stages: [contentStage])[0] }
  }

  /// - Parameters:
  ///   - image: [N, C, H, W] in 0…1.
  ///   - content: the image to resemble, of the same shape.
  ///   - styles: which of the target's styles each sample should have; nil where there is one, or one per sample.
  public func callAsFunction(_ image: Tensor, content: Tensor, style: StyleTarget, styles: [Int]? = nil) throws -> Terms
  {
    guard content.shape == image.shape else {
      throw NetworkError("an image and a content of one shape were expected, got \(image.shape) and \(content.shape)")
    }
    return try self(image, contentFeatures: contentTarget(content), style: style, styles: styles)
  }

  /// The same with features in the place of the content, such as ``AdaptiveStyleNetwork``'s.
  public func callAsFunction(
    _ image: Tensor, contentFeatures: Tensor, style: StyleTarget, styles: [Int]? = nil
  ) throws -> Terms {
    let samples = image.shape.first ?? 0
    let numbers = styles ?? (0..<samples).map { style.count == 1 ? 0 : $0 }
    guard numbers.count == samples, numbers.allSatisfy((0..<style.count).contains),
      styles != nil || style.count == 1 || style.count == samples
    else {
      throw NetworkError(
        "one of \(style.count) styles for each of \(samples) samples was expected, got "
          + (styles.map { "\($0)" } ?? "none"))
    }
    let found = try features.fixedActivations(of: image, stages: [contentStage] + styleStages)
    guard found[0].shape == contentFeatures.shape else {
      throw NetworkError(
        "content features \(found[0].shape) at '\(contentStage)' were expected, got \(contentFeatures.shape)")
    }
    let rows = try Tensor(numbers.map(Int64.init), device: image.device)
    let content = try found[0].meanSquaredError(target: contentFeatures)
    let differences = try zip(found.dropFirst(), style.statistics).map { activation, target in
      let square = try (measured(activation) - target.gatheredRows(rows)).squared()
      // Gram matrices: the squared Frobenius norm, the mean over samples.
      return statistic == .gram ? try square.sum() / samples : try square.mean()
    }
    let styleTerm = try differences.dropFirst().reduce(differences[0]) { try $0 + $1 }
    let variation = try Self.totalVariation(image)
    return Terms(
      content: content, style: styleTerm, totalVariation: variation,
      total: try content * weights.content + styleTerm * weights.style + variation * weights.totalVariation)
  }

  private func measured(_ activation: Tensor) throws -> Tensor {
    statistic == .gram ? try Self.gram(activation) : try Self.moments(activation)
  }

  /// How channels go together: [N, C, H, W] → [N, C, C], Σ x_i x_j / (C H W) over positions.
  public static func gram(_ activation: Tensor) throws -> Tensor {
    let flat = try activation.flattened(from: 2)
    return try flat.matmul(flat.transposed(1, 2)) / activation.shape.dropFirst().reduce(1, *)
  }

  /// The channels' means and deviations √(variance + ε): [N, C, H, W] → [N, 2, C].
  public static func moments(_ activation: Tensor, epsilon: Double = 1e-5) throws -> Tensor {
    try Tensor.stack(
      [activation.mean([2, 3]), (activation.variance([2, 3]) + epsilon).squareRoot()], dimension: 1)
  }

  /// The mean squared difference of vertical neighbours plus that of horizontal ones, of [N, C, H, W]; 0 along an extent of 1.
  public static func totalVariation(_ image: Tensor) throws -> Tensor {
    guard image.rank == 4, image.count > 0 else {
      throw NetworkError("an image [N, C, H, W] was expected, got \(image.shape)")
    }
    let terms = try [2, 3].filter { image.shape[$0] > 1 }.map { axis in
      let extent = image.shape[axis]
      return try (image.sliced(1..<extent, dimension: axis) - image.sliced(0..<extent - 1, dimension: axis))
        .squared().mean()
    }
    return try terms.reduce(Tensor.zeros([], dtype: image.dtype, device: image.device)) { try $0 + $1 }
  }
}
