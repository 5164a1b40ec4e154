import NormaData
import NormaModels
import NormaNN
import NormaRecords
import NormaTensor
import NormaTraining

public typealias StyleTrainer = Trainer<StyleTask>

/// Pictures that keep their content and take on a style, by the perceptual loss.
///
/// A training sample is a picture in one of the styles; with several styles every picture is there in each. In evaluation
/// pictures take the styles in turn. The classifier of the loss is no part of the network that is trained.
public struct StyleTask: TrainingTask {
  /// What makes the pictures.
  public enum Network {
    /// One style, or several by conditional instance normalization.
    case transformation(TransformationNetwork)
    /// The style's picture goes in beside the content.
    case adaptive(AdaptiveStyleNetwork)
  }

  public let network: Network
  private let goal: StyleGoal
  /// Without the styles.
  private let contents: ImageDataset
  /// Every picture in every style: sample style · pictures + picture.
  private let training: ImageDataset
  public let validation: ImageDataset
  private let sampling: ImageSampling

  public var model: Module {
    switch network {
    case .transformation(let network): network
    case .adaptive(let network): network
    }
  }
  public var batchSize: Int { sampling.batchSize }
  public let samplesPerEpoch: Int

  /// - Parameters:
  ///   - goal: on the device that trains.
  ///   - training: pictures [3, H, W] in 0…1; an epoch has so many samples as there are pictures unless the sampling tells another
  ///     number.
  /// - Throws: `DataError` when the sampling does not fit the data, ``TrainingError`` when the pictures or the network's styles do
  ///   not fit.
  public init(
    network: Network, goal: StyleGoal, training: ImageDataset, validation: ImageDataset, sampling: ImageSampling
  ) throws {
    try Self.validate(sampling, training: training, validation: validation)
    let styles = goal.styles.count
    if case .transformation(let network) = network, network.options.styles != styles {
      throw TrainingError("the network has \(network.options.styles) styles, but \(styles) style pictures are given")
    }
    self.network = network
    self.goal = goal
    contents = training
    self.training = training.part((0..<styles * training.count).map { $0 % training.count }, name: training.name)
    self.validation = validation
    samplesPerEpoch = sampling.samplesPerEpoch ?? training.count
    self.sampling = sampling
  }

  /// Checks what can be checked before any network is made.
  public static func validate(_ sampling: ImageSampling, training: ImageDataset, validation: ImageDataset) throws {
    try sampling.validate(for: training)
    for images in [training, validation] { try StyleGoal.checkColours(of: images) }
    guard training.height == validation.height, training.width == validation.width else {
      throw TrainingError(
        "pictures of \(training.name) are \(training.height)×\(training.width) and of \(validation.name) "
          + "\(validation.height)×\(validation.width); both must be the same")
    }
  }

  public func batches(epoch: Int, _ plan: BatchPlan) throws -> BatchLoader<ImageBatch> {
    var sampling = sampling
    sampling.samplesPerEpoch = samplesPerEpoch
    return try training.batches(sampling, epoch: epoch, plan)
  }

  public func sampleCount(_ batch: ImageBatch) -> Int { batch.count }

  public func probeBatch() throws -> ImageBatch { try training.probeBatch(sampling) }

  public func pass(_ batch: ImageBatch, _ options: TrainingOptions) throws -> TrainingPass {
    let terms = try passed(batch, styles: batch.indices.map { $0 / contents.count }, options).terms
    return TrainingPass(loss: terms.total) {
      [.content: try terms.content.item(), .style: try terms.style.item()]
    }
  }

  /// The pictures that the network makes, [N, 3, H, W] in float32, and what the loss says of them.
  private func passed(
    _ batch: ImageBatch, styles numbers: [Int], _ options: TrainingOptions
  ) throws -> (pictures: Tensor, terms: PerceptualLoss.Terms) {
    let content = try goal.contents(batch)
    let input = try content.to(dtype: options.dtype)
    switch network {
    case .transformation(let network):
      let pictures = try (network.options.styles == 1 ? network(input) : network(input, styles: numbers))
        .to(dtype: .float32)
      return (pictures, try goal.loss(pictures, content: content, style: goal.target, styles: numbers))
    case .adaptive(let network):
      let rows = try Tensor(numbers.map(Int64.init), device: options.device)
      let (made, features) = try network.transferred(
        input, style: goal.images.gatheredRows(rows).to(dtype: options.dtype))
      let pictures = try made.to(dtype: .float32)
      return (
        pictures,
        try goal.loss(
          pictures, contentFeatures: features.to(dtype: .float32), style: goal.target, styles: numbers)
      )
    }
  }

  // MARK: - Evaluation

  public struct Evaluation: TrainingEvaluation {
    public internal(set) var loss = 0.0
    /// Unweighted; see `PerceptualLoss`.
    public internal(set) var content = 0.0
    public internal(set) var style = 0.0
    /// What the network made of every picture, [3, H, W] in 0…1. Empty unless asked for.
    public internal(set) var pictures: [[Float]] = []

    public var scores: [ScoreName: Double] { [.content: content, .style: style] }
  }

  public func evaluate(
    on samples: ImageDataset, _ options: TrainingOptions, keepingPredictions: Bool
  ) throws -> Evaluation {
    try goal.evaluation(of: samples, keepingPictures: keepingPredictions) {
      try passed($0, styles: $1, options)
    }
  }

  public var digest: String { "\(contents.digest) \(validation.digest) \(goal.styles.digest) \(goal.features)" }

  public var fingerprint: [String: String] {
    [
      "batch-size": "\(sampling.batchSize)", "samples-per-epoch": "\(samplesPerEpoch)", "seed": "\(sampling.seed)",
      "augment": "\(sampling.augmentation)", "content-weight": "\(goal.loss.weights.content)",
      "style-weight": "\(goal.loss.weights.style)",
    ]
  }
}
