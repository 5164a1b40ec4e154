import NormaData
import NormaExperiment
import NormaModels
import NormaNormalization

extension Comparison {
  /// Classification of images by AlexNet.
  func alexnet(_ setting: Setting) throws -> Prepared<ImageWorkload> {
    let side = data.imageSize ?? 64
    let loaded = try data.loadClasses(side: side, isRepeated: setting.isRepeated, earlier: setting.earlier) { count, seed in
      SyntheticShapes(side: side, count: count, seed: seed).make()
    }
    func options(_ norm: Normalization) -> AlexNet.Options {
      var options = AlexNet.Options()
      (options.inputChannels, options.inputSize) = (loaded.training.channels, min(loaded.training.height, loaded.training.width))
      options.classes = loaded.training.classCounts?.count ?? 0
      options.normalization = norm
      options.width = Double(network.width ?? 64) / 64
      options.dropout = network.dropout ?? options.dropout
      return options
    }
    return try images(
      loaded, setting, augmentation: (training.augment ?? .none).ofPictures(side: loaded.training.height),
      ImageModel(
        network: {
          try AlexNet(options($0.normalization), generator: $1.weights, dropoutGenerator: $1.dropout)
        },
        check: { try options($0.normalization).validate() },
        metadata: { ($0 as? AlexNet)?.options.metadata ?? [:] },
        configuration: ["width": "\(network.width ?? 64)", "dropout": "\(options(.none).dropout)"]))
  }
}
