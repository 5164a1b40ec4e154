import ArgumentParser
import NormaData
import NormaFormats

/// Which images and labels to use.
struct DataOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Image stack: a TIFF file, a PNG file or a folder of PNG files.", valueName: "path"))
  var images: String?

  @Option(
    help: ArgumentHelp("Label stack of the same size, one value per class (such as 0 and 255).", valueName: "path"))
  var labels: String?

  @Option(help: ArgumentHelp("Label value of pixels that do not count.", valueName: "value"))
  var ignoreLabel: Int?

  @Option(help: ArgumentHelp("How many of the last slices are for validation.", valueName: "count"))
  var valSlices = 4

  @Option(
    help: ArgumentHelp("Height and width of the synthetic stack; the crop unless given.", valueName: "pixels"))
  var syntheticSize: Int?

  @Option(help: ArgumentHelp("Slices of the synthetic stack.", valueName: "count"))
  var syntheticSlices = 24

  @Option(help: ArgumentHelp("Decides the synthetic stack.", valueName: "seed"))
  var syntheticSeed: UInt64 = 0

  func validate() throws {
    guard (images == nil) == (labels == nil) else {
      throw ValidationError(
        "--images and --labels belong together: give both, or neither for the built-in synthetic stack.")
    }
    if images != nil, syntheticSize != nil {
      throw ValidationError("--synthetic-size is for the built-in stack; leave it out with --images.")
    }
    guard syntheticSlices >= 2 else {
      throw ValidationError("--synthetic-slices must be at least 2, got \(syntheticSlices).")
    }
    if let size = syntheticSize, !(16...8192).contains(size) {
      throw ValidationError("--synthetic-size must be in 16…8192, got \(size).")
    }
  }

  struct Loaded {
    let name: String
    let isSynthetic: Bool
    let training: SegmentationDataset
    let validation: SegmentationDataset
  }

  /// - Parameter crop: the size of the synthetic stack where none is given.
  func load(crop: Int) throws -> Loaded {
    let name: String
    let stacks: (images: ImageStack, labels: ImageStack)
    if let images, let labels {
      name = images
      stacks = (try ImageFile.read(images), try ImageFile.read(labels))
    } else {
      let size = syntheticSize ?? min(max(crop, 16), 8192)
      name = "synthetic EM-like stack (\(syntheticSlices) slices of \(size)×\(size), seed \(syntheticSeed))"
      stacks = SyntheticEM(width: size, height: size, slices: syntheticSlices, seed: syntheticSeed).make()
    }
    let dataset = try SegmentationDataset(
      images: stacks.images, labels: stacks.labels, ignore: ignoreLabel, name: name)
    let (training, validation) = try dataset.split(validationSlices: valSlices)
    return Loaded(name: name, isSynthetic: images == nil, training: training, validation: validation)
  }
}
