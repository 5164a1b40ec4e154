import NormaData
import NormaDistributed
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaTensor
import NormaTraining

/// The classifier that style transfer looks through.
public struct StyleClassifier {
  public let network: FeatureNetwork
  /// Tells it from others: a hash of its weights.
  public let digest: String
  /// On pictures that did not train it; nil for one of a file.
  public let accuracy: Double?

  /// How one is trained on built-in pictures.
  public struct Recipe: Sendable {
    /// Channels of the first block.
    public var width = 16
    /// Pictures, of which a sixth is kept back to tell the accuracy.
    public var count = 1200
    public var side = 32
    public var epochs = 4
    public init() {}
  }

  /// Trains a small classifier of textures and pictures on the CPU. It depends on the recipe alone, and for that is trained on one
  /// thread.
  public init(_ recipe: Recipe = Recipe()) throws {
    let (training, validation, _) = try SyntheticTextures(side: recipe.side, seed: 0).kinds(recipe.count)
      .split(validation: 1.0 / 6)
    var options = FeatureNetwork.Options(.small)
    (options.width, options.classes) = (recipe.width, training.classCounts?.count ?? 0)
    network = try FeatureNetwork(options, generator: Generator(seed: 0))
    var settings = TrainingOptions()
    (settings.epochs, settings.learningRate, settings.schedule) = (recipe.epochs, 2e-3, .oneCycle)
    let task = try ImageTask(
      model: network, training: training, validation: validation,
      sampling: ImageSampling(batchSize: 16, seed: 0, augmentation: ImageAugmentation(flips: true)),
      standardization: nil)
    // And by every worker for itself.
    let trainer = try ProcessGroup.$current.withValue(nil) {
      let trainer = try ImageTrainer(task: task, options: settings)
      try onOneThread { try trainer.run() }
      return trainer
    }
    accuracy = trainer.finalEvaluation?.scores[.accuracy]
    digest = try Self.digest(of: network)
  }

  /// The convolutions of torchvision's `vgg16` or `vgg19` from a safetensors file; which one is told from the keys. What is not under
  /// `features.` is not read.
  /// - Throws: `FormatError` for a file that cannot be read; `TrainingError` for one of another network.
  public init(file path: String) throws {
    let file = try SafetensorsReader(path)
    let entries = file.entries.filter { $0.name.hasPrefix("features.") }
    func expected(_ what: String) -> TrainingError {
      TrainingError(
        "'\(path)' should hold the weights of torchvision's vgg16 or vgg19 (features.0.weight and on), but \(what); write them with "
          + "safetensors.torch.save_file(model.state_dict(), path)")
    }
    // The last convolutions.
    let layout: FeatureNetwork.Layout? =
      file.entry("features.34.weight") != nil ? .vgg19 : file.entry("features.28.weight") != nil ? .vgg16 : nil
    guard let layout, let width = file.entry("features.0.weight")?.shape.first else {
      let names = file.entries.map(\.name).sorted().prefix(3)
      throw expected("has \(names.isEmpty ? "nothing" : names.joined(separator: ", ") + ", …")")
    }
    var options = FeatureNetwork.Options(layout)
    options.width = width
    do { try options.validate() } catch let error as NetworkError {
      throw expected("features.0.weight does not fit: \(error)")
    }
    // The shapes of the header, before anything is made of them.
    let given = Dictionary(uniqueKeysWithValues: entries.map { ($0.name, $0.shape) })
    if let mismatch = StateError(given, against: options.featureShapes) {
      throw expected("not all fit \(layout.rawValue) of width \(width): \(mismatch)")
    }
    network = try FeatureNetwork(options)
    try network.loadFeatures(
      Dictionary(uniqueKeysWithValues: entries.map { ($0.name, try file.tensor($0)) }))
    digest = try Self.digest(of: network)
    accuracy = nil
  }

  private static func digest(of network: FeatureNetwork) throws -> String {
    var hash = WordHash()
    for (_, tensor) in network.stateDictionary() {
      hash.take(try tensor.to(dtype: .float32).array(of: Float.self).lazy.map(\.bitPattern))
    }
    return hash.text
  }

  /// The loss that looks at the last activation of each of the first four blocks (in the small classifier at the very first and the
  /// last of three blocks), and for the content of the second.
  ///
  /// For an adaptive network, which works in the classifier's own features, content and styles are those of the paper:
  /// its stage, and means and deviations at the first activation of every block up to there.
  public func loss(_ weights: PerceptualLoss.Weights, forAdaptive stage: String? = nil) throws -> PerceptualLoss {
    let stages = network.options.stages
    guard let stage else {
      let last = (1...4).compactMap { block in stages.last { $0.hasPrefix("relu\(block)_") } }
      // Deep activations of the small classifier, which was not shown ImageNet, leave colours open: it looks at the first instead.
      let styles = network.options.layout == .small ? ["relu1_1"] + last.dropLast() : last
      return try PerceptualLoss(features: network, contentStage: last[1], styleStages: styles, weights: weights)
    }
    return try PerceptualLoss(
      features: network, contentStage: stage,
      styleStages: stages[...(stages.firstIndex(of: stage) ?? 0)].filter { $0.hasSuffix("_1") }, weights: weights,
      statistic: .moments)
  }
}

/// Sums come out the same however many threads the process has, since the order of their terms depends on that number.
func onOneThread<Result>(_ body: () throws -> Result) rethrows -> Result {
  let threads = Runtime.threads
  Runtime.threads = 1
  defer { Runtime.threads = threads }
  return try body()
}
