import NormaData
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaTensor
import NormaTraining

/// The classifier that style transfer looks through.
public struct StyleClassifier {
  public let network: FeatureNetwork
  /// Tells it from others: how it was trained, or a hash of a file's weights.
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

  /// Trains a small classifier of textures and pictures on the CPU. It depends on the recipe alone.
  public init(_ recipe: Recipe = Recipe()) throws {
    let (training, validation, _) = try SyntheticTextures(side: recipe.side, seed: 0).kinds(recipe.count)
      .split(validation: 1.0 / 6)
    var options = FeatureNetwork.Options(.small)
    (options.width, options.classes) = (recipe.width, training.classCounts?.count ?? 0)
    network = try FeatureNetwork(options, generator: Generator(seed: 0))
    var settings = TrainingOptions()
    (settings.epochs, settings.learningRate, settings.schedule) = (recipe.epochs, 2e-3, .oneCycle)
    let trainer = try ImageTrainer(
      task: ImageTask(
        model: network, training: training, validation: validation,
        sampling: ImageSampling(batchSize: 16, seed: 0, augmentation: ImageAugmentation(flips: true)),
        standardization: nil), options: settings)
    try trainer.run()
    accuracy = trainer.finalEvaluation?.scores[.accuracy]
    digest = "\(recipe)"
  }

  /// The convolutions of torchvision's `vgg16` or `vgg19` from a safetensors file; which one is told from the keys.
  /// - Throws: `FormatError` for a file that cannot be read; `TrainingError` for one of another network.
  public init(file path: String) throws {
    let state = try SafetensorsReader(path).tensors()
    func expected(_ what: String) -> TrainingError {
      TrainingError(
        "'\(path)' should hold the weights of torchvision's vgg16 or vgg19 (features.0.weight and on), \(what); write them with "
          + "safetensors.torch.save_file(model.state_dict(), path)")
    }
    // The last convolutions.
    let layout: FeatureNetwork.Layout? =
      state["features.34.weight"] != nil ? .vgg19 : state["features.28.weight"] != nil ? .vgg16 : nil
    guard let layout, let first = state["features.0.weight"], first.rank == 4, first.shape[0] > 0 else {
      throw expected(
        "but has \(state.isEmpty ? "nothing" : state.keys.sorted().prefix(3).joined(separator: ", ") + ", …")")
    }
    var options = FeatureNetwork.Options(layout)
    options.width = first.shape[0]
    network = try FeatureNetwork(options)
    do {
      try network.loadFeatures(state)
    } catch let error as StateError {
      throw expected("but not all fit \(layout.rawValue): \(error)")
    }
    var hash = WordHash()
    for (_, tensor) in network.stateDictionary() { hash.take(try tensor.array(of: Float.self).lazy.map(\.bitPattern)) }
    digest = hash.text
    accuracy = nil
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
