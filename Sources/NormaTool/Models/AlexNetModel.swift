import NormaData
import NormaExperiment
import NormaModels
import NormaNormalization

extension NetworkOptions {
  /// Channels of the first stage. The network's own 64 take minutes per pass over a few thousand images without an accelerator.
  var alexnetWidth: Int { width ?? 16 }

  func alexnet(_ norm: Normalization, _ images: ImageShape) -> AlexNet.Options {
    var options = AlexNet.Options()
    (options.inputChannels, options.inputSize) = (images.channels, min(images.height, images.width))
    options.classes = images.classes
    options.normalization = norm
    options.width = Double(alexnetWidth) / 64
    // The paper's 0.5 slows a narrow network down: after 7 epochs on the shapes 0.59 are right instead of 0.71.
    options.dropout = dropout ?? 0.2
    return options
  }
}

extension Comparison {
  /// Classification of images by AlexNet.
  func alexnet(_ setting: Setting) throws -> Prepared<ImageWorkload> {
    let side = data.imageSize ?? DataOptions.defaultImageSize
    let loaded = try data.loadClasses(
      side: side, count: model.defaults.syntheticImages, isRepeated: setting.isRepeated, earlier: setting.earlier
    ) { count, seed in
      SyntheticShapes(side: side, count: count, seed: seed).make()
    }
    let shape = loaded.shape
    return try images(
      loaded, setting, augmentation: (training.augment ?? .none).ofPictures(side: loaded.training.height),
      ImageModel(
        network: { [network] in network.alexnet($0.normalization, shape) },
        configuration: [
          "width": "\(network.alexnetWidth)", "dropout": "\(network.alexnet(.none, shape).dropout)",
        ].merging(shape.height == shape.width ? ["image-size": "\(shape.height)"] : [:]) { $1 }))
  }
}
