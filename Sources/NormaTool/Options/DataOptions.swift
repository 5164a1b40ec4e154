import ArgumentParser
import NormaData
import NormaFormats

/// Which images and labels to use.
struct DataOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Image stack: a TIFF file, a PNG file or a folder of PNG files.", valueName: "path"),
    completion: .file())
  var images: String?

  @Option(
    help: ArgumentHelp("Label stack of the same size, one value per class (such as 0 and 255).", valueName: "path"),
    completion: .file())
  var labels: String?

  @Option(help: ArgumentHelp("Label value of pixels that do not count.", valueName: "value"))
  var ignoreLabel: Int?

  @Option(
    help: ArgumentHelp(
      "Slices for validation, which chooses the epoch: the last of the stack, or those before the test slices.",
      valueName: "count"))
  var valSlices = 4

  @Option(
    help: ArgumentHelp(
      "How many of the last slices are for scores alone. (default: with several --seeds as many as --val-slices if the stack "
        + "has them, else none: scores are then of the validation slices)", valueName: "count"))
  var testSlices: Int?

  @Option(
    help: ArgumentHelp(
      "Height and width of the synthetic stack; the crop (at most 1024) unless given.", valueName: "pixels"))
  var syntheticSize: Int?

  @Option(help: ArgumentHelp("Slices of the synthetic stack. (default: 24)", valueName: "count"))
  var syntheticSlices: Int?

  @Option(help: ArgumentHelp("Decides the synthetic stack. (default: 0)", valueName: "seed"))
  var syntheticSeed: UInt64?

  func validate() throws {
    guard (images == nil) == (labels == nil) else {
      throw ValidationError(
        "--images and --labels belong together: give both, or neither for the built-in synthetic stack.")
    }
    if images != nil, syntheticSize != nil || syntheticSlices != nil || syntheticSeed != nil {
      throw ValidationError("the --synthetic options are for the built-in stack; leave them out with --images.")
    }
    if let testSlices, testSlices < 0 {
      throw ValidationError("--test-slices must be at least 0, got \(testSlices).")
    }
    guard (2...10_000).contains(slicesOfSynthetic) else {
      throw ValidationError("--synthetic-slices must be in 2…10000, got \(slicesOfSynthetic).")
    }
    if let size = syntheticSize, !(16...8192).contains(size) {
      throw ValidationError("--synthetic-size must be in 16…8192, got \(size).")
    }
    if let size = syntheticSize, size * size * slicesOfSynthetic > 1_000_000_000 {
      throw ValidationError(
        "a synthetic stack may have 10⁹ pixels, got \(slicesOfSynthetic) slices of \(size)×\(size); choose fewer or smaller ones."
      )
    }
  }

  /// Options that not all networks have, as far as they are given.
  var given: [String] {
    [("ignore-label", ignoreLabel != nil), ("test-slices", testSlices != nil)].filter(\.1).map(\.0)
  }

  var slicesOfSynthetic: Int { syntheticSlices ?? 24 }
  var seedOfSynthetic: UInt64 { syntheticSeed ?? 0 }

  /// The extent of the synthetic stack: the crop's where none is given, within reason.
  func sizeOfSynthetic(crop: Int) -> Int { syntheticSize ?? min(max(crop, 16), 1024) }

  struct Loaded {
    let name: String
    let isSynthetic: Bool
    let training: SegmentationDataset
    let validation: SegmentationDataset
    let test: SegmentationDataset?
  }

  /// - Parameters:
  ///   - crop: the size of the synthetic stack where none is given.
  ///   - isRepeated: whether there are several seeds.
  ///   - earlierTestSlices: those of the run that goes on.
  func load(crop: Int, isRepeated: Bool, earlierTestSlices: Int? = nil) throws -> Loaded {
    let name: String
    let stacks: (images: ImageStack, labels: ImageStack)
    if let images, let labels {
      name = images
      stacks = (try ImageFile.read(images), try ImageFile.read(labels))
    } else {
      let (size, slices, seed) = (sizeOfSynthetic(crop: crop), slicesOfSynthetic, seedOfSynthetic)
      name = "synthetic EM-like stack (\(slices) slices of \(size)×\(size), seed \(seed))"
      stacks = SyntheticEM(width: size, height: size, slices: slices, seed: seed).make()
    }
    let dataset = try SegmentationDataset(
      images: stacks.images, labels: stacks.labels, ignore: ignoreLabel, name: name)
    let forTest =
      testSlices ?? earlierTestSlices ?? (isRepeated ? max(0, min(valSlices, dataset.pages - valSlices - 1)) : 0)
    let held = valSlices + forTest
    let (training, rest) = try dataset.split(validationSlices: held)
    guard forTest > 0 else {
      return Loaded(name: name, isSynthetic: images == nil, training: training, validation: rest, test: nil)
    }
    let (validation, test) = try rest.split(validationSlices: forTest)
    return Loaded(name: name, isSynthetic: images == nil, training: training, validation: validation, test: test)
  }
}
